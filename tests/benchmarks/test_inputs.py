"""The benchmarks' events are what they are said to be: valid, distinct, of the length asked for."""

from __future__ import annotations

import pytest

from benchmarks import events
from benchmarks.corpus import Corpus, load
from benchmarks.readme import BEGIN, END, README
from schemas.events import PromptEvent, ResponseEvent
from schemas.items import Decoded
from stages.validate import Validate


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PUBLIC_DATA", raising=False)
        return load()


@pytest.mark.parametrize("length", [50, 1_000])
def test_pieces_are_distinct_and_of_the_length_asked_for(corpus: Corpus, length: int) -> None:
    pieces = corpus.pieces(length, 500)
    assert len(set(pieces)) == 500
    assert {len(piece.strip()) for piece in pieces} == {length}


def test_too_few_texts_are_said_to_be_too_few() -> None:
    with pytest.raises(ValueError, match="no 50 pieces of 4 characters"):
        Corpus("test", ("abcd",)).pieces(4, 50)


def test_every_event_is_valid_and_its_text_is_one_of_the_texts(corpus: Corpus) -> None:
    texts = corpus.pieces(200, 60)
    found: list[Decoded] = []
    for chunk in events.chunks(texts):
        outcome = Validate()(chunk)
        assert outcome.rejected == ()
        found += outcome.passed.items
    said = [
        event.prompt.text if isinstance(event, PromptEvent) else event.response.text
        for event in (item.event for item in found)
        if isinstance(event, PromptEvent | ResponseEvent)
    ]
    assert sorted(map(str, said)) == sorted(texts)
    assert len({item.id for item in found}) == len(texts)


def test_every_response_comes_after_its_prompt(corpus: Corpus) -> None:
    seen: set[str] = set()
    for topic, event in events.conversations(corpus.pieces(50, 40)):
        if topic == events.RESPONSES:
            assert event["promptEventId"] in seen
        seen.add(event["eventId"])


def test_the_readme_has_its_place_for_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1
    assert text.index(BEGIN) < text.index(END)
