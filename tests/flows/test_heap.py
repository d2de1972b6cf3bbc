"""The worker's garbage collection is set for its run alone, and still collects."""

from __future__ import annotations

import gc
import weakref

import pytest

from flows.heap import ALLOCATIONS, quiet_heap


class Knot:
    def __init__(self) -> None:
        self.itself = self


def test_is_undone_at_the_end() -> None:
    before = gc.get_threshold()
    with quiet_heap():
        assert gc.get_threshold()[0] == ALLOCATIONS
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_is_undone_after_a_failure() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), quiet_heap():
        raise RuntimeError
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_cycles_made_inside_are_collected() -> None:
    with quiet_heap():
        knot = weakref.ref(Knot())
        kept = [[n] for n in range(2 * ALLOCATIONS)]
        assert knot() is None
        assert len(kept) == 2 * ALLOCATIONS
