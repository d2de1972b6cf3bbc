"""Where points are, as the query language and deletions want it said: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from schemas.records import RecordId
from sinks.common.stamps import record_id
from sinks.influxdb.lines import EVENT, MOVED, RECORD, SERIES, Point, bucket

GAP_NS = 10_000_000_000
"""Times further apart than this are asked for apart."""


class Place(NamedTuple):
    """One point: whose it is, and its series, as stored."""

    id: RecordId
    version: int
    time: int
    measurement: str
    tags: tuple[tuple[str, str], ...]

    @property
    def predicate(self) -> str:
        """What, with its time, is true of this point alone."""
        # Stored tags hold neither quotes nor backslashes: see lines.tag_of.
        tags = (("_measurement", self.measurement), *self.tags)
        return " AND ".join([f'{name}="{value}"' for name, value in tags])


def event_row(row: Mapping[str, Any]) -> Place:
    """Where the point of a row of ``event`` is."""
    tags = tuple([(name, row[name]) for name in (*SERIES, MOVED)])
    identity = record_id(row["kind"], row["event_id"])
    return Place(identity, int(row["version"]), row["time"], EVENT, tags)


def point_place(made: Point, moved: int) -> Place:
    """Where a point of ours is in ``event``."""
    tags = (*zip(SERIES, made.series, strict=True), (MOVED, str(moved)))
    return Place(made.id, made.version, made.time, EVENT, tags)


def record_place(record: RecordId, version: int, time: int) -> Place:
    """Where a version of a record is in ``record``."""
    tags = (("bucket", bucket(record)), ("version", str(version)))
    return Place(record, version, time, RECORD, tags)


def record_row(row: Mapping[str, Any]) -> Place:
    """Where the point of a row of ``record`` is. Without an id, the mark alone is left of it."""
    kind, _, id_ = (row["id"] or ":").partition(":")
    place = record_place(record_id(kind, id_), int(row["version"]), row["time"])
    if row["id"]:
        return place
    return place._replace(tags=(("bucket", row["bucket"]), ("version", row["version"])))


def intervals(times: Iterable[int]) -> Iterator[str]:
    """Conditions that together hold for these times, and for little else: a batch is a second or
    so of events; one from all over the years gets an interval for each of its events."""
    known = sorted(set(times))
    cuts = [i for i in range(1, len(known)) if known[i] - known[i - 1] > GAP_NS]
    for start, end in pairwise([0, *cuts, len(known)]):
        yield f"time >= {known[start]} AND time <= {known[end - 1]}"
