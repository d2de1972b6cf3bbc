"""Scores of predicted spans against labelled ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

Labelled = tuple[int, int, str]


class Score(TypedDict):
    precision: float
    recall: float
    f1: float
    f2: float
    gold: int
    predicted: int


def overlap(a: Labelled, b: Labelled) -> float:
    """Intersection over union of two half-open character ranges."""
    common = min(a[1], b[1]) - max(a[0], b[0])
    return max(common, 0) / (max(a[1], b[1]) - min(a[0], b[0]))


def matched(gold: Sequence[Labelled], predicted: Sequence[Labelled], least: float) -> set[int]:
    """Indices of ``gold`` that some prediction of the same label covers with IoU >= ``least``.

    Predictions of one text are disjoint, so with ``least`` above .5 no prediction serves twice.
    """
    return {
        n
        for n, span in enumerate(gold)
        if any(p[2] == span[2] and overlap(span, p) >= least for p in predicted)
    }


def score(
    pairs: Iterable[tuple[Sequence[Labelled], Sequence[Labelled]]],
    labels: Iterable[str],
    least: float = 1.0,
) -> dict[str, Score]:
    """Score per label and for ``all``; pairs are (gold, predicted) of one text each.

    F2 is (1 + 4) P R / (4 P + R): recall counts twice as much as precision.
    """
    wanted = tuple(labels)
    hits, golds, guesses = (dict.fromkeys(wanted, 0) for _ in range(3))
    for gold, predicted in pairs:
        for n in matched(gold, predicted, least):
            if gold[n][2] in hits:
                hits[gold[n][2]] += 1
        for span in gold:
            if span[2] in golds:
                golds[span[2]] += 1
        for span in predicted:
            if span[2] in guesses:
                guesses[span[2]] += 1
    result = {w: _score(hits[w], golds[w], guesses[w]) for w in wanted}
    result["all"] = _score(sum(hits.values()), sum(golds.values()), sum(guesses.values()))
    return result


def _score(hits: int, gold: int, predicted: int) -> Score:
    p = hits / predicted if predicted else 0.0
    r = hits / gold if gold else 0.0
    f1 = 2 * p * r / (p + r) if p + r else 0.0
    f2 = 5 * p * r / (4 * p + r) if p + r else 0.0
    return Score(
        precision=round(p, 4),
        recall=round(r, 4),
        f1=round(f1, 4),
        f2=round(f2, 4),
        gold=gold,
        predicted=predicted,
    )
