"""Spans of personal data, and how overlapping ones become disjoint."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

NAME_ENTITIES = frozenset({"PERSON", "ORGANIZATION", "LOCATION", "STREET_ADDRESS"})


class Span(msgspec.Struct, frozen=True, order=True):
    """Characters ``start`` to ``end`` (code points, half-open) of a text that hold ``entity``.

    ``score`` is the detector's confidence in (0, 1].
    """

    start: int
    end: int
    entity: str
    score: float


def _precedence(span: Span) -> tuple[bool, int, float, int, str]:
    return (
        span.entity in NAME_ENTITIES,
        span.start - span.end,
        -span.score,
        span.start,
        span.entity,
    )


def resolve(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same spans sorted and without overlaps; the order of ``spans`` does not matter.

    Patterns come before names, then the longer, then the likelier span, then the first by start
    and entity. What a lower span covers beyond a higher one stays covered under its own entity,
    so that no character that any detector covered is left bare.
    """
    resolved: list[Span] = []
    cluster: list[Span] = []
    reach = 0
    for span in sorted(set(spans)):
        if span.start >= reach:
            resolved += _settle(cluster)
            cluster = []
        cluster.append(span)
        reach = max(reach, span.end)
    return (*resolved, *_settle(cluster))


def _settle(cluster: list[Span]) -> list[Span]:
    """Spans that overlap in a chain, made disjoint."""
    if len(cluster) < 2:
        return cluster
    kept: list[Span] = []
    for span in sorted(cluster, key=_precedence):
        pieces = [(span.start, span.end)]
        for above in kept:
            pieces = [rest for piece in pieces for rest in _without(piece, above)]
        kept += [Span(start, end, span.entity, span.score) for start, end in pieces]
    return sorted(kept)


def _without(piece: tuple[int, int], above: Span) -> list[tuple[int, int]]:
    start, end = piece
    if above.end <= start or end <= above.start:
        return [piece]
    return [(a, b) for a, b in ((start, above.start), (above.end, end)) if a < b]
