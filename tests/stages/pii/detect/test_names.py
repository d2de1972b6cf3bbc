"""The name detector with the shipped model."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pii.detect import NAME_ENTITIES, DetectSettings, ModelFilesError, NameDetector
from stages.pii.detect.model_files import MODEL, load, ordinary_words, save

from .texts import prose, texts


@pytest.fixture(scope="module")
def detector() -> NameDetector:
    return NameDetector()


@pytest.mark.parametrize(
    ("text", "entity", "name"),
    [
        ("My name is Sarah Connor and I need help.", "PERSON", "Sarah Connor"),
        ("Dear Mr. Johnson, thank you for your letter.", "PERSON", "Johnson"),
        ("Please ask Michael Brown's manager.", "PERSON", "Michael Brown"),
        ("What is the weather like in Paris in May?", "LOCATION", "Paris"),
        ("She moved from Germany to the coast.", "LOCATION", "Germany"),
        ("He works for Microsoft as an engineer.", "ORGANIZATION", "Microsoft"),
        ("I studied at Stanford University.", "ORGANIZATION", "Stanford University"),
        ("Ship it to 12 Oak Street, Springfield.", "STREET_ADDRESS", "12 Oak Street"),
    ],
)
def test_finds_names_in_prompts(detector: NameDetector, text: str, entity: str, name: str) -> None:
    found = [(s.entity, text[s.start : s.end]) for s in detector.detect([text])[0]]
    assert (entity, name) in found


@pytest.mark.parametrize(
    "text",
    [
        "Write a Python function that sorts a list of numbers.",
        "How can I use Docker with Kubernetes?",
        "1. Eggs\n2. Milk\n3. Bread\n4. Butter\n",
        "Step 1: Open Settings and click Save Changes.",
        "Therefore, the answer is 42.",
        "Identify the main idea of this paragraph.",
        "<ul>\n  <li>Apples</li>\n</ul>\nul { margin: 0 auto; }",
        "I. Introduction\nA. Thesis statement\nII. Body\n",
        "def main(argv: list[str]) -> int:\n    return len(argv)\n",
        "",
        "\x00\n\t",
    ],
)
def test_leaves_ordinary_text_alone(detector: NameDetector, text: str) -> None:
    assert [s for s in detector.detect([text])[0] if s.entity in ("PERSON", "STREET_ADDRESS")] == []


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(texts | st.text(), max_size=6))
def test_a_text_is_judged_alone_and_never_refused(detector: NameDetector, batch: list[str]) -> None:
    found = detector.detect(batch)
    assert found == [detector.detect([text])[0] for text in batch]
    for text, spans in zip(batch, found, strict=True):
        edges = [edge for span in spans for edge in (span.start, span.end)]
        assert edges == sorted(edges)
        assert all(0 <= s.start < s.end <= len(text) for s in spans)


def test_batches_of_prose_give_the_same_in_any_company(detector: NameDetector) -> None:
    paragraphs = prose(150, seed=7)
    together = detector.detect(paragraphs)
    assert together == [spans for text in paragraphs for spans in detector.detect([text])]
    assert together[::-1] == detector.detect(paragraphs[::-1])
    assert sum(map(len, together)) > 100


def test_words_seen_are_forgotten(detector: NameDetector) -> None:
    detector.detect(["warm up"])
    before = len(detector._nlp.vocab.strings)
    detector.detect([f"qzx{n}vwk met Jane{n}qq in Paris" for n in range(500)])
    assert len(detector._nlp.vocab.strings) == before


def test_only_the_entities_asked_for() -> None:
    detector = NameDetector(settings=DetectSettings(entities=("LOCATION",)))
    spans = detector.detect(["Sarah Connor lives in Paris."])[0]
    assert {span.entity for span in spans} == {"LOCATION"}
    assert detector.languages == {"en"}


def test_another_model_by_folder(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler", name="ner")
    ruler.add_patterns(  # type: ignore[attr-defined]
        [{"label": "GPE", "pattern": "Gondor"}, {"label": "NORP", "pattern": "Elvish"}]
    )
    nlp.to_disk(tmp_path / "model")
    found = NameDetector(str(tmp_path / "model")).detect(["Elvish songs of Gondor"])[0]
    assert [(s.entity, s.start, s.end) for s in found] == [("LOCATION", 16, 22)]


def test_a_model_that_is_not_installed_is_named() -> None:
    with pytest.raises(LookupError, match="no_such_model"):
        NameDetector("no_such_model")


def test_damaged_files_are_refused_with_the_command_that_restores_them(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    load(folder)
    (folder / "ner" / "model").write_bytes(b"other")
    with pytest.raises(ModelFilesError, match=r"ner/model.*git checkout"):
        load(folder)
    shutil.rmtree(folder)
    with pytest.raises(ModelFilesError, match="git checkout"):
        load(folder)


def test_saved_without_words_it_answers_the_same(tmp_path: Path, detector: NameDetector) -> None:
    save(load(), sorted(ordinary_words()), tmp_path / "copy")
    again = NameDetector(str(tmp_path / "copy"))
    paragraphs = prose(20, seed=9)
    assert again.detect(paragraphs) == detector.detect(paragraphs)


def test_the_shipped_model_is_small_offline_and_finds_every_name_entity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file())
    assert size <= 8_000_000

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model asked the network")

    monkeypatch.setattr(socket, "socket", refuse)
    assert set(load().get_pipe("ner").labels) == NAME_ENTITIES  # type: ignore[attr-defined]
