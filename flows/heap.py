"""The garbage collector of a process that makes many small objects and hardly any cycle."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

ALLOCATIONS = 50_000
"""Net allocations between two collections: a few chunks' worth, where Python's default (700) looks
through every event of a chunk several times while it is at work on it."""


@contextmanager
def quiet_heap() -> Iterator[None]:
    """Collects less often, and never again through what is there now (models, tables, code).

    Reference counts free nearly all; what cycles keep is bounded by the allocations between two
    collections. Undone at the end.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
