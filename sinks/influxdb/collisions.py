"""Points that another event's point has overwritten: same series, same nanosecond.

The digits of a time below the millisecond come from the event's id, so two events of one series
and millisecond meet once in a million times. The record of each is still there (in series of its
own), which is how the loss is found; the point is then written beside, with the tag ``moved``, in
the nanosecond that it belongs to. The sink asks for moved points before it writes, so that a
replay writes it there again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.ports import WRITTEN, Result, Unavailable
from schemas.records import RecordId
from sinks.common.stamps import record_id
from sinks.influxdb.client import Client
from sinks.influxdb.lines import (
    EVENT,
    GREATEST_NS,
    LEAST_NS,
    MOVED,
    RECORD,
    SUPERSEDED,
    bucket,
    lines,
    name_of,
    record_of,
)
from sinks.influxdb.lines import point as made_of
from sinks.influxdb.settings import InfluxSettings


class Collisions:
    """Finds and moves overwritten points; each call raises Unavailable."""

    def __init__(self, client: Client, settings: InfluxSettings) -> None:
        self._client = client
        self._settings = settings

    def find(self, since: int | None = None, until: int | None = None) -> Iterator[RecordId]:
        """Records without a point, by time; between these event times in µs, the end exclusive.

        Both measurements are read once, streamed. Records that are being written may be named too.
        """
        where = f"time >= {_bound(since, LEAST_NS)} AND time < {_bound(until, GREATEST_NS)}"
        records = self._moments(f"SELECT id FROM {RECORD} WHERE {where}")  # noqa: S608
        points = self._moments(f"SELECT event_id, kind, {SUPERSEDED} FROM {EVENT} WHERE {where}")  # noqa: S608
        here: tuple[int, set[RecordId]] | None = next(points, None)
        for moment, held in records:
            while here is not None and here[0] < moment:
                here = next(points, None)
            there = here[1] if here is not None and here[0] == moment else set()
            yield from sorted(held - there)

    def move(self, ids: Sequence[RecordId]) -> list[Result]:
        """Writes the points of these records beside those that have taken their place."""
        return [self._move(identity) for identity in ids]

    def _move(self, identity: RecordId) -> Result:
        deadline = self._client.deadline()
        name, tag = name_of(identity), bucket(identity)
        statement = f"SELECT json FROM {RECORD} WHERE bucket = '{tag}' AND id = '{name}'"  # noqa: S608
        try:
            rows = self._client.query(self._settings.bucket, [statement], deadline)[0]
            if not rows:
                return Result("rejected", "missing")
            record = max((record_of(row["json"]) for row in rows), key=lambda r: r.stamp.version)
            made = made_of(record, self._settings.max_tag_bytes, self._settings.max_record_bytes)
            statement = (
                f"SELECT event_id, {MOVED} FROM {EVENT} "  # noqa: S608
                f"WHERE kind = '{identity.kind}' AND time = {made.time}"
            )
            taken = self._client.query(self._settings.bucket, [statement], deadline)[0]
            if any(row["event_id"] == identity.id for row in taken):
                return WRITTEN
            free = 1 + max((int(row[MOVED]) for row in taken), default=-1)
            text = "\n".join(lines(made, free))
            self._client.write(self._settings.bucket, text, deadline)
        except Unavailable as error:
            return Result("unavailable", error.code)
        return WRITTEN

    def _moments(self, statement: str) -> Iterator[tuple[int, set[RecordId]]]:
        """The records of each nanosecond, by time."""
        moment: int | None = None
        held: set[RecordId] = set()
        for _, values in self._client.stream(self._settings.bucket, statement):
            for time, *rest in values:
                if moment is not None and time != moment:
                    yield moment, held
                    held = set()
                moment = time
                if len(rest) == 1:
                    held.add(record_id(*rest[0].split(":", 1)))
                elif rest[0] and not rest[2]:
                    held.add(record_id(rest[1], rest[0]))
        if moment is not None:
            yield moment, held


def _bound(time: int | None, otherwise: int) -> int:
    return otherwise if time is None else min(max(time * 1_000, LEAST_NS), GREATEST_NS)
