"""Words near a match that make it likelier, such as "passport" before a number."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

BEFORE = 70
AFTER = 25


class Context:
    """The places in ``text`` where ``words``, an RE2 pattern or None, matches."""

    def __init__(self, words: Any, text: str) -> None:
        found = [] if words is None else [match.span() for match in words.finditer(text)]
        self._starts = [start for start, _ in found]
        self._ends = [end for _, end in found]

    def near(self, start: int, end: int) -> bool:
        """Whether one ends at most BEFORE characters before, or starts at most AFTER after."""
        at = bisect_left(self._ends, start - BEFORE)
        if at < len(self._ends) and self._ends[at] <= start:
            return True
        at = bisect_left(self._starts, end)
        return at < len(self._starts) and self._starts[at] <= end + AFTER

    def around(self, start: int, end: int) -> bool:
        """Whether one may be near something between ``start`` and ``end``; True more often."""
        at = bisect_left(self._ends, start - BEFORE)
        return at < len(self._ends) and self._starts[at] <= end + AFTER
