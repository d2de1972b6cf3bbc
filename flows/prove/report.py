"""What a proof says: counts by state, and every offset that is not accounted for."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from schemas.log import Partition

State = Literal[
    "written", "duplicate", "dead_letter", "waiting", "orphan", "erased", "expired", "control",
    "unaccounted",
]  # fmt: skip
"""Where an offset is. ``written``: found in every store its kind and content call for;
``duplicate``: the same event came at other coordinates, and is accounted for there; ``waiting``:
for its prompt, for an enrichment, for a store, or for a worker to read it; ``orphan``: written as a
response whose prompt did not come; ``expired``: the log holds it no more; ``control``: no record
(a mark of a transaction, or compacted)."""

MOST = 100_000
"""Exceptions that are listed; more are counted."""


class Verdict(msgspec.Struct, frozen=True):
    """``code``: what it waits for, why it is a dead letter, or what is wrong."""

    state: State
    code: str = ""


class Found(msgspec.Struct, frozen=True):
    """An offset that is not accounted for, with the codes of why, separated by commas."""

    topic: str
    partition: int
    offset: int
    code: str


class Bounds(msgspec.Struct, frozen=True):
    """Offsets of a partition: the first still there, the one behind the last, and the one behind
    the last that the worker has committed."""

    first: int
    end: int
    committed: int


class Proved(msgspec.Struct, frozen=True):
    """A range of offsets, ``end`` not included, that was proved."""

    topic: str
    partition: int
    first: int
    end: int


class Report(msgspec.Struct):
    """``states``: offsets by topic and state; ``codes``: by state and code; ``compared``: events
    derived again and found the same (``--deep``), ``not_compared``: those that could not be, by
    code. ``exceptions`` holds the first ``MOST`` of ``unaccounted``."""

    deep: bool = False
    offsets: int = 0
    unaccounted: int = 0
    seconds: float = 0.0
    states: dict[str, dict[State, int]] = {}
    codes: dict[State, dict[str, int]] = {}
    compared: int = 0
    not_compared: dict[str, int] = {}
    ranges: list[Proved] = []
    exceptions: list[Found] = []

    @property
    def ok(self) -> bool:
        """Whether every offset is accounted for."""
        return self.unaccounted == 0

    def total(self, state: State) -> int:
        """Offsets in a state, over all topics."""
        return sum(states.get(state, 0) for states in self.states.values())

    def add(self, partition: Partition, offset: int, verdict: Verdict) -> None:
        """One offset."""
        self.add_range(partition, verdict, offset, offset + 1)

    def add_range(self, partition: Partition, verdict: Verdict, first: int, end: int) -> None:
        """Offsets from ``first`` up to ``end`` (fewer than one: none) of one state."""
        if end <= first:
            return
        self._count(partition.topic, verdict, end - first)
        if verdict.state == "unaccounted":
            self.unaccounted += end - first
            room = MOST - len(self.exceptions)
            self.exceptions += [
                Found(partition.topic, partition.number, offset, verdict.code)
                for offset in range(first, min(end, first + room))
            ]

    def skipped(self, code: str) -> None:
        """An event that could not be derived again."""
        self.not_compared[code] = self.not_compared.get(code, 0) + 1

    def _count(self, topic: str, verdict: Verdict, count: int) -> None:
        self.offsets += count
        states = self.states.setdefault(topic, {})
        states[verdict.state] = states.get(verdict.state, 0) + count
        if verdict.code:
            codes = self.codes.setdefault(verdict.state, Counter())
            codes[verdict.code] = codes.get(verdict.code, 0) + count


def to_json(report: Report) -> bytes:
    """The report as a document of JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
