"""What holds of the pattern detector for every text."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pii.detect import DetectSettings, PatternDetector
from stages.pii.detect.fold import fold

from .texts import prose, texts

FAST = PatternDetector()
PLAIN = PatternDetector(prefilter=False)
LOW = DetectSettings(threshold=0.0)
FAST_LOW = PatternDetector(LOW)
PLAIN_LOW = PatternDetector(LOW, prefilter=False)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_prefilter_changes_no_span(text: str) -> None:
    assert FAST.detect([text]) == PLAIN.detect([text])


@settings(max_examples=200, deadline=None)
@given(texts)
def test_prefilter_changes_no_span_at_any_threshold(text: str) -> None:
    assert FAST_LOW.detect([text]) == PLAIN_LOW.detect([text])


def test_prefilter_changes_no_span_on_prose() -> None:
    paragraphs = prose(400, seed=3)
    found = FAST_LOW.detect(paragraphs)
    assert found == PLAIN_LOW.detect(paragraphs)
    assert sum(map(len, found)) > 400


def test_long_text_of_numbers_and_words_is_scanned_to_its_end() -> None:
    text = " ".join(prose(60, seed=5)) * 3 + " jane@example.com"
    spans = FAST.detect([text])[0]
    assert spans[-1].end == len(text)
    assert spans == PLAIN.detect([text])[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, max_size=5))
def test_a_text_is_judged_alone(batch: list[str]) -> None:
    assert FAST.detect(batch) == [FAST.detect([text])[0] for text in batch]


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_gets_sorted_disjoint_spans_inside_it(text: str) -> None:
    spans = FAST_LOW.detect([text])[0]
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 <= s.start < s.end <= len(text) and 0 < s.score <= 1 for s in spans)


@given(st.text())
def test_folding_keeps_offsets(text: str) -> None:
    folded = fold(text)
    assert len(folded) == len(text)
    assert fold(folded) == folded
    assert not any(char.isdecimal() and not char.isascii() for char in folded)


def test_nothing_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a detector opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert PatternDetector().detect(["jane@example.com"])[0][0].entity == "EMAIL_ADDRESS"


def test_only_the_entities_asked_for() -> None:
    detector = PatternDetector(DetectSettings(entities=("IP_ADDRESS",)))
    spans = detector.detect(["jane@example.com from 203.0.113.77"])[0]
    assert [span.entity for span in spans] == ["IP_ADDRESS"]


def test_an_entity_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'IP_ADDRESS'"):
        DetectSettings(entities=("IP_ADRESS",))


@pytest.mark.parametrize("unit", ["a.", "a-", "@", "1-", "a@", "::", "eyJ", "1 ", "é", "(0"])
def test_repetition_does_not_blow_up(unit: str) -> None:
    text = unit * (20_000 // len(unit)) + "@example.com"
    assert all(span.end <= len(text) for span in FAST.detect([text])[0])
