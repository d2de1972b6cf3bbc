"""The policy applied to one text: what its spans make of it."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from schemas.items import WITHHELD
from stages.pii.detect.spans import NAME_ENTITIES, Span
from stages.pii.policies import Action

PLACEHOLDER = re.compile(r"<[A-Z]+(?:_[A-Z]+)*>|\[WITHHELD\]")

Mark = tuple[str, Action]


class Redacted(NamedTuple):
    """The text after the policy, a mark for everything found, and whether it was withheld."""

    text: str
    marks: tuple[Mark, ...]
    withheld: bool


def redact(text: str, spans: Iterable[Span], action: Callable[[str], Action]) -> Redacted:
    """Apply the policy. ``drop`` goes before ``redact``, ``redact`` before ``flag``.

    Overlapping spans to redact become one placeholder, named after the first in the order of
    :func:`stages.pii.detect.spans.resolve`; nothing that any of them covered is left. Placeholders
    that stand in the text are not personal data; a span is redacted only for a letter or digit
    outside of them, so that each redaction leaves fewer such characters: it comes to an end.
    """
    kept = _Regions(_placeholders(text))
    found = [s for s in spans if s.start < s.end and _bare(text, s, kept)]
    by_action: dict[Action, list[Span]] = {"drop": [], "redact": [], "flag": []}
    for span in found:
        by_action[action(span.entity)].append(span)
    strong = _groups(by_action["redact"])
    covered = _Regions([(start, end) for start, end, _ in strong])
    weak = [s for s in by_action["flag"] if not covered.over(s.start, s.end)]
    marks: tuple[Mark, ...] = (
        *((entity, "drop") for _, _, entity in _groups(by_action["drop"])),
        *((entity, "redact") for _, _, entity in strong),
        *((entity, "flag") for _, _, entity in _groups(weak)),
    )
    if by_action["drop"]:
        return Redacted(WITHHELD, marks, True)
    parts: list[str] = []
    done = 0
    for start, end, entity in strong:
        beside = kept.over(start, end)
        if beside:
            start, end = min(start, beside[0][0]), max(end, beside[-1][1])
        parts += [text[done:start], f"<{entity}>"]
        done = max(done, end)
    parts.append(text[done:])
    return Redacted("".join(parts), marks, False)


class _Regions:
    """Disjoint regions in order."""

    __slots__ = ("_ends", "_regions", "_starts")

    def __init__(self, regions: list[tuple[int, int]]) -> None:
        self._regions = regions
        self._starts = [start for start, _ in regions]
        self._ends = [end for _, end in regions]

    def over(self, start: int, end: int) -> list[tuple[int, int]]:
        """Those that overlap with ``start`` to ``end``."""
        return self._regions[bisect_right(self._ends, start) : bisect_left(self._starts, end)]


def _placeholders(text: str) -> list[tuple[int, int]]:
    if "<" not in text and "[" not in text:
        return []
    return [match.span() for match in PLACEHOLDER.finditer(text)]


def _bare(text: str, span: Span, kept: _Regions) -> bool:
    """Whether a span holds a letter or digit outside of placeholders."""
    at = span.start
    for start, end in kept.over(span.start, span.end):
        if any(map(str.isalnum, text[at:start])):
            return True
        at = end
    return any(map(str.isalnum, text[at : span.end]))


def _precedence(span: Span) -> tuple[bool, int, float, int, str]:
    return (
        span.entity in NAME_ENTITIES,
        span.start - span.end,
        -span.score,
        span.start,
        span.entity,
    )


def _groups(spans: list[Span]) -> list[tuple[int, int, str]]:
    """Disjoint regions that cover all spans, each with the entity of its first by precedence."""
    groups: list[tuple[int, int, str]] = []
    end, best = -1, None
    for span in sorted(spans):
        if best is not None and span.start < end:
            end, best = max(end, span.end), min(best, span, key=_precedence)
            groups[-1] = (groups[-1][0], end, best.entity)
        else:
            end, best = span.end, span
            groups.append((span.start, end, span.entity))
    return groups
