"""Responses whose prompt did not come in time, told of in a way that nothing gets lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog

from schemas.ports import Joins, Waiting

TRIES: Final = 3
"""Calls that may fail with one response alone before it is left waiting for its prompt."""

_log = structlog.get_logger("lookup")


class Overdue:
    """Asks the join store for at most ``limit`` orphans a call.

    What was answered in a call that failed is answered again, and not confirmed before. Afterwards
    one comes at a time, then two, four, …, so that one that makes the stage raise is found: it is
    left out, and costs no other its orphan fact.
    """

    def __init__(self, joins: Joins, limit: int) -> None:
        self._joins = joins
        self._limit = self._most = limit
        self._failures: Counter[str] = Counter()
        self._due: Sequence[Waiting] = ()
        self.exhausted = False
        """Whether the last call answered all that was due."""

    def ask(self, before: int) -> Sequence[Waiting]:
        """Those whose log time lies before ``before``. Raises Unavailable."""
        found = self._joins.overdue(before, self._most)
        self.exhausted = len(found) < self._most
        self._due = [waiting for waiting in found if self._failures[_id(waiting)] < TRIES]
        return self._due

    def passed(self) -> None:
        """What was answered last has gone on."""
        if self._most < self._limit and self._due:
            self._most = min(2 * self._most, self._limit)
        elif self.exhausted:
            self._most = self._limit
            self._failures.clear()

    def failed(self, error: BaseException) -> None:
        """What was answered last has not gone on."""
        self._joins.unheard()
        if len(self._due) == 1:
            self._failures[_id(self._due[0])] += 1
        self._most = 1
        _log.warning("orphans_held_back", responses=len(self._due), error=type(error).__name__)


def _id(waiting: Waiting) -> str:
    return waiting.response.event.id
