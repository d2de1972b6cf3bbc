"""Scores against examples worked out by hand."""

from __future__ import annotations

import pytest

from stages.pii.detect.train_ner.card import table
from stages.pii.detect.train_ner.scoring import overlap, score


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 4, "A"), (2, 6, "A")) == pytest.approx(2 / 6)
    assert overlap((0, 4, "A"), (4, 6, "A")) == 0
    assert overlap((0, 4, "A"), (0, 4, "B")) == 1


def test_scores_by_label_and_together() -> None:
    gold = [(0, 4, "PERSON"), (10, 14, "PERSON"), (20, 24, "LOCATION")]
    found = [(0, 4, "PERSON"), (10, 13, "PERSON"), (20, 24, "PERSON"), (30, 33, "PERSON")]
    exact = score([(gold, found)], ("PERSON", "LOCATION"))
    assert (exact["PERSON"]["precision"], exact["PERSON"]["recall"]) == (0.25, 0.5)
    assert exact["PERSON"]["f2"] == pytest.approx(5 * 0.25 * 0.5 / (4 * 0.25 + 0.5), abs=1e-4)
    assert exact["LOCATION"]["recall"] == 0
    loose = score([(gold, found)], ("PERSON", "LOCATION"), least=0.75)
    assert loose["PERSON"]["recall"] == 1
    assert loose["all"]["gold"] == 3
    assert loose["all"]["predicted"] == 4
    assert loose["all"]["precision"] == 0.5


def test_labels_that_are_not_asked_for_do_not_count() -> None:
    assert score([([(0, 1, "X")], [(0, 1, "X")])], ("Y",))["all"]["predicted"] == 0


def test_the_card_shows_each_asked_row() -> None:
    rows = score([([(0, 4, "PERSON")], [(0, 4, "PERSON")])], ("PERSON",))
    assert "| PERSON | 1.000 | 1.000 | 1.000 | 1 |" in table("x", rows, ("PERSON", "all"), "f2")
