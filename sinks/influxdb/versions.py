"""Of the versions of a record the highest counts: which others there are, and how they go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from schemas.ports import Unavailable
from schemas.records import RecordId
from sinks.common.deadline import Deadline
from sinks.common.stamps import record_id
from sinks.influxdb.client import REFUSED, WHAT, Client
from sinks.influxdb.lines import (
    EVENT,
    MOVED,
    RECORD,
    SUPERSEDED,
    TAGS,
    Point,
    anchor,
    bucket,
    superseded,
)
from sinks.influxdb.places import Place, event_row, intervals, point_place, record_place, record_row

T = TypeVar("T")
Row = Mapping[str, Any]

REMOVING = 0.5
"""Seconds that a write spends on removing what is superseded: each removal is a request."""
PATIENCE = 4.0
"""How much longer than a call may take what reads all points."""
STATEMENTS = 50
"""Most statements in one request."""
_REMOVED = 500
"""Most points that are removed behind one request for their anchors."""
_ROW = f"event_id, version, {', '.join(TAGS)}, {MOVED}"


class Versions:
    """Finds, marks and removes points in the bucket; each call raises Unavailable."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def supersede(
        self,
        points: Sequence[Point],
        moved: Mapping[RecordId, int],
        others: Iterable[Iterable[Row]],
        deadline: Deadline,
    ) -> None:
        """Marks and removes all versions but the highest of what was just written; ``others``: the
        answers to :func:`others_of`. What there is no time to remove stays, marked."""
        own = {made.id: made for made in points}
        found: dict[RecordId, list[Place]] = {}
        for rows in others:
            for row in rows:
                place = event_row(row)
                mine = own.get(place.id)
                if mine is not None and mine.time == place.time:
                    found.setdefault(place.id, [point_place(mine, moved.get(place.id, 0))])
                    found[place.id].append(place)
        old: list[Place] = []
        for places in found.values():
            highest = max(place.version for place in places)
            for place in places:
                if place.version < highest:
                    old += [place, record_place(place.id, place.version, place.time)]
        if not old:
            return
        marks = [superseded(place.measurement, place.tags, place.time) for place in old]
        self._client.write(self._bucket, "\n".join(marks), deadline)
        budget = Deadline(WHAT, min(REMOVING, deadline.left()))
        with contextlib.suppress(Unavailable):
            self.remove(old, budget)

    def remove(self, places: Sequence[Place], deadline: Deadline | None = None) -> None:
        """Removes points, within the deadline or each in a call's time."""
        for part in groups(places, _REMOVED):
            self._anchor(part, deadline or self._client.deadline())
            for place in part:
                within = deadline or self._client.deadline()
                self._client.delete(self._bucket, place.time, place.predicate, within)

    def remove_version(self, made: Point) -> None:
        """Removes what is there of one version of a record."""
        statement = (
            f"SELECT {_ROW} FROM {EVENT} WHERE kind = '{made.id.kind}' "  # noqa: S608
            f"AND version = '{made.version}' AND time = {made.time}"
        )
        (rows,) = self._client.query(self._bucket, [statement], self._client.deadline())
        places = [place for place in map(event_row, rows) if place.id == made.id]
        self.remove([*places, record_place(made.id, made.version, made.time)])

    def remove_all(self, times: Mapping[RecordId, int]) -> None:
        """Removes all versions of records whose times are known."""
        statements = [
            f"SELECT {_ROW} FROM {EVENT} WHERE time = {time_ns}"  # noqa: S608
            for time_ns in sorted(set(times.values()))
        ]
        statements += [
            f"SELECT id, version FROM {RECORD} "  # noqa: S608
            f"WHERE bucket = '{bucket(identity)}' AND time = {time_ns}"
            for identity, time_ns in times.items()
        ]
        for part in groups(statements, STATEMENTS):
            for rows in self._client.query(self._bucket, part, self._client.deadline()):
                places = [event_row(r) if "event_id" in r else record_row(r) for r in rows]
                self.remove([place for place in places if times.get(place.id) == place.time])

    def sweep(self) -> int:
        """Removes what is superseded and is still there; answers how many points."""
        marked = f"WHERE {SUPERSEDED} = true"
        statements = [
            f"SELECT {_ROW}, {SUPERSEDED} FROM {EVENT} {marked}",  # noqa: S608
            f"SELECT id, version, bucket, {SUPERSEDED} FROM {RECORD} {marked}",  # noqa: S608
        ]
        events, records = self._client.query(
            self._bucket, statements, self._client.deadline(PATIENCE)
        )
        places = [event_row(row) for row in events]
        places += [record_row(row) for row in records]
        self.remove(places)
        return len(places)

    def _anchor(self, places: Sequence[Place], deadline: Deadline) -> None:
        lines = {anchor(place.measurement, place.tags, place.time) for place in places}
        try:
            self._client.write(self._bucket, "\n".join(sorted(lines)), deadline)
        except Unavailable as error:
            # Of an hour that is just leaving the retention: its shard will go as a whole.
            if error.code != REFUSED:
                raise


def moved_of(times: Iterable[int]) -> list[str]:
    """What asks for points of these times that were moved off another's."""
    return [
        f"SELECT {_ROW} FROM {EVENT} WHERE {MOVED} != '0' AND {MOVED} != '' AND {part}"  # noqa: S608
        for part in intervals(times)
    ]


def beside(points: Sequence[Point], answers: Iterable[Iterable[Row]]) -> dict[RecordId, int]:
    """Which of the points were moved, by the answers to :func:`moved_of`, or have to be, to lie
    beside one another."""
    found = {_identity(row): int(row[MOVED]) for rows in answers for row in rows}
    taken: set[tuple[tuple[str, ...], int, int]] = set()
    for made in sorted(points, key=lambda made: made.id):
        number = found.get(made.id, 0)
        while (made.series, made.time, number) in taken:
            number += 1
        taken.add((made.series, made.time, number))
        if number:
            found[made.id] = number
    return found


def others_of(points: Iterable[Point]) -> list[str]:
    """What asks for points of other versions around these. Of one kind, nearly all records have
    one version: the answer is nearly empty, and the index of the tags knows."""
    times: dict[tuple[str, int], list[int]] = {}
    for made in points:
        times.setdefault((made.id.kind, made.version), []).append(made.time)
    return [
        f"SELECT {_ROW} FROM {EVENT} WHERE kind = '{kind}' AND version != '{version}' AND {part}"  # noqa: S608
        for (kind, version), known in times.items()
        for part in intervals(known)
    ]


def groups(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _identity(row: Row) -> RecordId:
    return record_id(row["kind"], row["event_id"])
