"""Long texts are read in overlapping windows, whose spans are put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stages.pii.detect.spans import Span

WINDOW = 20_000
OVERLAP = 2_000

Detect = Callable[[Sequence[str]], Sequence[tuple[Span, ...]]]


def windows(length: int) -> list[tuple[int, int]]:
    """Start and end of each window over a text of ``length`` code points, in order."""
    starts = range(0, max(length - OVERLAP, 1), WINDOW - OVERLAP)
    return [(start, min(start + WINDOW, length)) for start in starts]


def detect_all(detect: Detect, texts: Sequence[str]) -> list[tuple[Span, ...]]:
    """Spans of every text from one call of ``detect``, which never sees more than a window.

    In an overlap the left window has the spans that start in its first half, the right one the
    rest. So each span is reported once, was seen with at least half an overlap of text before it,
    and is whole unless it is longer than half an overlap.
    """
    if all(len(text) <= WINDOW for text in texts):
        return list(detect(texts))
    pieces = [windows(len(text)) for text in texts]
    found = iter(detect([t[a:b] for t, cut in zip(texts, pieces, strict=True) for a, b in cut]))
    return [_merge(cut, [next(found) for _ in cut]) for cut in pieces]


def _merge(cut: list[tuple[int, int]], found: Sequence[tuple[Span, ...]]) -> tuple[Span, ...]:
    if len(cut) == 1:
        return found[0]
    borders = [0, *(start + OVERLAP // 2 for start, _ in cut[1:]), cut[-1][1] + 1]
    return tuple(
        Span(span.start + start, span.end + start, span.entity, span.score)
        for (start, _), spans, low, high in zip(cut, found, borders, borders[1:], strict=False)
        for span in spans
        if low <= span.start + start < high
    )
