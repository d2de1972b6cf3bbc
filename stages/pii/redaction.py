"""The policy applied to one text: what its spans make of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
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
    kept = _regions(text)
    found = [s for s in spans if s.start < s.end and not _empty(text, s, kept)]
    dropped = [s for s in found if action(s.entity) == "drop"]
    if dropped:
        rest = [s for s in found if action(s.entity) != "drop"]
        return Redacted(WITHHELD, _marks(dropped, "drop") + _marks_of_rest(rest, action), True)
    strong = _groups([s for s in found if action(s.entity) == "redact"])
    weak = [
        s
        for s in found
        if action(s.entity) == "flag" and not any(a < s.end and s.start < b for a, b, _ in strong)
    ]
    parts: list[str] = []
    done = 0
    for start, end, entity in strong:
        start = min([start, *(a for a, b in kept if a < start < b)])
        end = max([end, *(b for a, b in kept if a < end < b)])
        parts += [text[done:start], f"<{entity}>"]
        done = max(done, end)
    parts.append(text[done:])
    marks: tuple[Mark, ...] = tuple((entity, "redact") for _, _, entity in strong)
    return Redacted("".join(parts), marks + _marks(weak, "flag"), False)


def _regions(text: str) -> list[tuple[int, int]]:
    if "<" not in text and "[" not in text:
        return []
    return [match.span() for match in PLACEHOLDER.finditer(text)]


def _empty(text: str, span: Span, kept: list[tuple[int, int]]) -> bool:
    """Whether a span holds no letter or digit outside of placeholders."""
    bare, done = "", span.start
    for start, end in kept:
        if start < span.end and span.start < end:
            bare += text[done : max(start, done)]
            done = min(end, span.end)
    bare += text[done : span.end]
    return not any(character.isalnum() for character in bare)


def _precedence(span: Span) -> tuple[bool, int, float, int, str]:
    return (
        span.entity in NAME_ENTITIES,
        span.start - span.end,
        -span.score,
        span.start,
        span.entity,
    )


def _groups(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """Disjoint regions that cover all spans, each with the entity of its first by precedence."""
    groups: list[tuple[int, int, str]] = []
    members: list[Span] = []
    for span in sorted(spans):
        if groups and span.start < groups[-1][1]:
            members.append(span)
            start, end, _ = groups.pop()
            groups.append((start, max(end, span.end), min(members, key=_precedence).entity))
        else:
            members = [span]
            groups.append((span.start, span.end, span.entity))
    return groups


def _marks(spans: Sequence[Span], action: Action) -> tuple[Mark, ...]:
    return tuple((entity, action) for _, _, entity in _groups(spans))


def _marks_of_rest(spans: Sequence[Span], action: Callable[[str], Action]) -> tuple[Mark, ...]:
    return tuple(mark for s in spans for mark in _marks([s], action(s.entity)))
