"""Partitions whose next record is not in the log any more."""

from __future__ import annotations

import structlog

from flows.control import Control
from schemas.failures import UserError
from schemas.log import Partition

_log = structlog.get_logger("kafka")


class Gaps:
    """Decides where a partition goes on that could not be read where it should be.

    A partition stops at a gap, and the others go on; with ``accept`` the gap is logged and passed.
    """

    def __init__(self, control: Control, *, accept: bool) -> None:
        self._control = control
        self._accept = accept
        self._open: dict[Partition, tuple[int, int]] = {}

    def next(self, partition: Partition, at: int | None, start: int, end: int) -> int | None:
        """The offset to read next; None where the partition stops. ``at`` is where it should go
        on (None: nothing is committed), ``start`` and ``end`` are the log's now."""
        if at is None:
            return start
        if start <= at <= end:
            return at
        # Behind the end, offsets are being used again: what is new among them is not known.
        first, last = (at, start - 1) if at < start else (end, at - 1)
        _log.error(
            "offset_gap", partition=str(partition), first=first, last=last, accepted=self._accept
        )
        if self._accept:
            return start
        self._open[partition] = first, last
        self._control.degrade(f"partition {partition}", "offset_gap")
        return None

    def forget(self, partition: Partition) -> None:
        """Another member has it now."""
        if self._open.pop(partition, None) is not None:
            self._control.degrade(f"partition {partition}", None)

    def report(self) -> None:
        """Raises UserError where a partition was stopped."""
        if not self._open:
            return
        lost = ", ".join(f"{p} {first} to {last}" for p, (first, last) in self._open.items())
        raise UserError(
            f"Kafka no longer has offsets that were not read: {lost}. Everything else was read. "
            "To go on without them: memory-graph run --accept-gap"
        )
