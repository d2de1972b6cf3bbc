"""Where points are, as the query language and deletions want it said: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from schemas.records import RecordId
from sinks.influxdb.lines import EVENT, MOVED, RECORD, TAGS, bucket

MOST_INTERVALS = 8
_GAP_NS = 1_000_000_000


class Place(NamedTuple):
    """One point: whose it is, and the predicate that, with its time, is true of it alone."""

    id: RecordId
    version: int
    time: int
    predicate: str


def predicate(row: Mapping[str, Any]) -> str:
    """The predicate of a row of ``event``."""
    tags = [*TAGS, "version", *([MOVED] if row[MOVED] else [])]
    return _all([("_measurement", EVENT), *((name, row[name]) for name in tags)])


def record_predicate(record: RecordId, version: int) -> str:
    """The predicate of a point of ``record``."""
    tags = [("_measurement", RECORD), ("bucket", bucket(record)), ("version", str(version))]
    return _all(tags)


def _all(tags: Iterable[tuple[str, str]]) -> str:
    # Stored tags hold neither quotes nor backslashes: see lines.tag_of.
    return " AND ".join([f'{name}="{value}"' for name, value in tags])


def intervals(times: Iterable[int]) -> Iterator[str]:
    """Conditions that together hold for these times, and for little else: few intervals, cut where
    the gaps are widest."""
    known = sorted(set(times))
    gaps = [i for i in range(1, len(known)) if known[i] - known[i - 1] > _GAP_NS]
    gaps.sort(key=lambda i: known[i] - known[i - 1], reverse=True)
    cuts = sorted(gaps[: MOST_INTERVALS - 1])
    for start, end in pairwise([0, *cuts, len(known)]):
        yield f"time >= {known[start]} AND time <= {known[end - 1]}"
