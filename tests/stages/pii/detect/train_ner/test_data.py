"""Where the training sentences of the name model come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.pii.detect.train_ner.corpora import load, read, split
from stages.pii.detect.train_ner.examples import LABELS, Example
from stages.pii.detect.train_ner.synth import Synthesizer
from stages.pii.detect.train_ner.vocabulary import common_words, ordinary_words

WORDS = ["apple", "bread", "garden", "letter", "window"]


def write(path: Path, rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows.replace(" ", "\t"), encoding="utf-8")
    return path


def labelled(example: Example) -> list[tuple[str, str]]:
    return [(example.text[start:end], label) for start, end, label in example.spans]


def test_tokens_become_text_with_offsets(tmp_path: Path) -> None:
    rows = "Hi O\n, O\nJane B-PER\nDoe I-PER\n's O\nfriend O\n( O\nParis B-LOC\n) O\n! O\n"
    (example,) = read(write(tmp_path / "a.conll", rows))
    assert example.text == "Hi, Jane Doe's friend (Paris)!"
    assert labelled(example) == [("Jane Doe", "PERSON"), ("Paris", "LOCATION")]


def test_io_tags_and_neighbours_with_their_own_b_tag(tmp_path: Path) -> None:
    io = "New I-LOC\nYork I-LOC\nsaid O\nIBM I-ORG\n"
    bio = "Ann B-person\nBob B-person\nplays O\nChess B-product\n\nMIT B-corporation\n"
    assert labelled(read(write(tmp_path / "io", io))[0]) == [
        ("New York", "LOCATION"),
        ("IBM", "ORGANIZATION"),
    ]
    first, second = read(write(tmp_path / "bio", bio))
    assert labelled(first) == [("Ann", "PERSON"), ("Bob", "PERSON")]
    assert labelled(second) == [("MIT", "ORGANIZATION")]


def test_handles_are_no_names(tmp_path: Path) -> None:
    rows = "@ B-PER\ncolgo B-PER\nhey O\n@paulwalk B-person\n"
    (example,) = read(write(tmp_path / "a.conll", rows))
    assert example == Example("@colgo hey @paulwalk", ())


def test_a_tenth_is_held_out_in_runs() -> None:
    examples = [Example(str(n), ()) for n in range(1000)]
    train, held = split(examples)
    assert len(held) == 100
    assert sorted(train + held, key=lambda e: int(e.text)) == examples
    assert [e.text for e in held[:20]] == [str(n) for n in range(180, 200)]


def test_the_test_file_is_never_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "btc" / "a.conll", "one O\n\n")
    write(tmp_path / "wikigold" / "wikigold.conll.txt", "two O\n\n")
    write(tmp_path / "wnut17" / "wnut17train.conll", "three O\n\n")
    write(tmp_path / "wnut17" / "emerging.dev.conll", "four O\n\n")
    write(tmp_path / "wnut17" / "emerging.test.annotated", "five O\n\n")
    train, held = load(tmp_path)
    assert {e.text for e in train} == {"one", "two", "three"}
    assert {e.text for e in held["wnut17_test"]} == {"five"}


def test_ordinary_words_are_in_lower_case_and_no_part_of_a_name() -> None:
    sentences = [
        Example("the mark of Mark Rose on a rose https://x.org/road @door", ((12, 21, "PERSON"),)),
        Example("the garden and The Garden", ()),
    ]
    assert common_words(sentences, least=2) == ["the"]
    assert ordinary_words(sentences, sentences) == ["and", "garden", "the"]


def test_generated_examples_follow_from_the_seed() -> None:
    first = Synthesizer(3, WORDS).examples(50)
    assert first == Synthesizer(3, WORDS).examples(50)
    assert first != Synthesizer(4, WORDS).examples(50)


@pytest.mark.parametrize("seed", [1, 2])
def test_generated_spans_are_labelled_pieces_of_the_text(seed: int) -> None:
    examples = Synthesizer(seed, WORDS).examples(400)
    seen = set()
    for example in examples:
        at = 0
        for start, end, label in example.spans:
            assert at <= start < end <= len(example.text)
            assert example.text[start:end].strip()
            at = end
            seen.add(label)
    assert seen == set(LABELS)
    assert any(not example.spans for example in examples)
