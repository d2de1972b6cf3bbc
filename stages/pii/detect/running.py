"""Runs a Presidio recognizer without what only its explanations need.

The matches are those of ``recognizer.analyze`` (a test compares them); but that builds an
explanation and reads the clock for each, and its removal of duplicates is quadratic, which a
hostile text makes minutes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import regex  # type: ignore[import-untyped]
from phonenumbers import PhoneNumberMatcher
from presidio_analyzer import PatternRecognizer
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

Match = tuple[int, int, float]
Find = Callable[[str], list[Match]]


def finder(recognizer: Any) -> Find:
    """The recognizer as a function from a text to (start, end, score)."""
    if isinstance(recognizer, PhoneRecognizer):
        return _phones(recognizer)
    if type(recognizer).analyze is PatternRecognizer.analyze:
        return _patterns(recognizer)
    entities = list(recognizer.supported_entities)

    def find(text: str) -> list[Match]:
        return [(r.start, r.end, float(r.score)) for r in recognizer.analyze(text, entities)]

    return find


def _patterns(recognizer: Any) -> Find:
    compiled = [
        (regex.compile(pattern.regex, flags=recognizer.global_regex_flags), float(pattern.score))
        for pattern in recognizer.patterns
    ]

    def matches(text: str) -> Iterator[Match]:
        for pattern, base in compiled:
            for match in pattern.finditer(text):
                start, end = match.span()
                if start == end:
                    continue
                value = match.group()
                valid = recognizer.validate_result(value)
                score = base if valid is None else float(valid)
                if score > 0 and not recognizer.invalidate_result(value):
                    yield start, end, score

    return lambda text: widest(matches(text))


def _phones(recognizer: Any) -> Find:
    def find(text: str) -> list[Match]:
        return widest(
            (match.start, match.end, float(recognizer.SCORE))
            for region in recognizer.supported_regions
            for match in PhoneNumberMatcher(text, region, leniency=recognizer.leniency)
        )

    return find


def widest(matches: Iterable[Match]) -> list[Match]:
    """``matches`` without those inside another one of at least their score."""
    ordered = sorted(set(matches), key=lambda m: (-m[2], m[0], m[0] - m[1]))
    if len(ordered) < 2:
        return ordered
    # Intervals of which none contains another: starts and ends both ascend.
    starts: list[int] = []
    ends: list[int] = []
    kept = []
    for start, end, score in ordered:
        at = bisect_right(starts, start)
        if at and ends[at - 1] >= end:
            continue
        first, last = bisect_left(starts, start), bisect_right(ends, end)
        starts[first:last], ends[first:last] = [start], [end]
        kept.append((start, end, score))
    return kept
