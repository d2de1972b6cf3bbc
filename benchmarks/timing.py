"""How the benchmarks take time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def microseconds(
    work: Callable[[Sequence[T]], object], items: Sequence[T], rounds: int = 3
) -> float:
    """CPU time of this process per item in µs, the best of some rounds after a short warm-up.

    CPU time, so that other work on the machine counts less; of all threads, so that what a library
    does in threads of its own counts as well.
    """
    work(items[: len(items) // 10 + 1])
    best = min(cpu_seconds(lambda: work(items)) for _ in range(rounds))
    return round(best / len(items) * 1e6, 1)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process, all threads, while ``work`` runs."""
    before = time.process_time()
    work()
    return time.process_time() - before
