"""Examples for every entity, found and not to be found, from cases.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from stages.pii.detect import PATTERN_ENTITIES, PatternDetector

CASES = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))["case"]
FOUND = [(case["entity"], text) for case in CASES for text in case["found"]]
ABSENT = [(case["entity"], text) for case in CASES for text in case["absent"]]


@pytest.fixture(scope="module")
def detector() -> PatternDetector:
    return PatternDetector()


def unmark(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without ⟦ and ⟧, and the offsets that they enclosed."""
    text, spans, start = "", [], 0
    for piece in re.split("([⟦⟧])", marked):
        if piece == "⟦":
            start = len(text)
        elif piece == "⟧":
            spans.append((start, len(text)))
        else:
            text += piece
    return text, spans


@pytest.mark.parametrize(("entity", "marked"), FOUND)
def test_finds_exactly_what_is_marked(detector: PatternDetector, entity: str, marked: str) -> None:
    text, expected = unmark(marked)
    assert expected
    found = detector.detect([text])[0]
    assert [(s.start, s.end) for s in found if s.entity == entity] == expected


@pytest.mark.parametrize(("entity", "text"), ABSENT)
def test_leaves_lookalikes_alone(detector: PatternDetector, entity: str, text: str) -> None:
    assert [s for s in detector.detect([text])[0] if s.entity == entity] == []


def test_every_entity_has_examples_of_both_kinds() -> None:
    assert {entity for entity, _ in FOUND} == PATTERN_ENTITIES
    assert {entity for entity, _ in ABSENT} == PATTERN_ENTITIES
