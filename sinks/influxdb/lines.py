"""Records as lines of line protocol and back: pure.

Of each record two points are written. ``event`` is for rollups and dashboards: few tags, plain
numbers. ``record`` holds the whole record as it came, in one of :data:`BUCKETS` series, because
Influx has no index on fields and an id as a tag would make a series for each event.

Both carry the record's version as a tag. So versions never overwrite or blend with one another
(Influx merges the fields of points of one series and nanosecond), and the order of arrival is
without effect. What is superseded is marked, which costs a line, and then removed, which costs a
request for each point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote
from zlib import crc32

import msgspec

from schemas.ports import Stored
from schemas.records import PointRecord, RecordId, Stamp
from sinks.common.stamps import (
    STAMP_COLUMNS,
    Refusal,
    check_numbers,
    check_texts,
    encoded,
    read_stamp,
    stamp_row,
)

EVENT = "event"
RECORD = "record"
BUCKETS = 4_096
"""Series of ``record``: to find an id, one of so many parts of all points is read."""

TAGS = ("kind", "tenant", "model", "provider", "purpose", "status")
MOVED = "moved"
"""Tag that tells points of one series and nanosecond apart: 0, and from 1 on for one that would
lie on another event's. All have it, because a removal cannot ask for points without a tag."""
SERIES = (*TAGS, "version")
SUPERSEDED = "superseded"
"""Field of a point of which a higher version is there: it counts no more, and goes."""
ANCHOR = "anchor"
"""The one field of a point that keeps a series from being empty: see :func:`anchor`."""
COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "latency_ms",
    "ttft_ms",
    "cost_pico_usd",
)
"""Integers that rollups read: anything else under these names is refused."""
_INTEGERS = (*COUNTS, "text_tokens")
_FLOATS = ("throughput", "cost_usd", "reported_cost_usd")
_TEXTS = ("session_id", "application_id", "prompt_id", "token_source", "cost_status")

ABSENT, LITERAL_UNDERSCORE = "_", "%5F"
LEAST_NS, GREATEST_NS = -((1 << 63) - 2), (1 << 63) - 2
"""What Influx takes for a time."""
MOST_VERSION = 1_000
_HOUR_NS = 3_600_000_000_000


def _integer(value: object) -> str | None:
    return f"{value}i" if type(value) is int else None


def _float(value: object) -> str | None:
    return repr(float(value)) if type(value) is float or type(value) is int else None


def _text(value: object) -> str | None:
    return quoted(value) if isinstance(value, str) else None


_WRITTEN: dict[str, Callable[[object], str | None]] = {
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(_FLOATS, _float),
    **dict.fromkeys(_TEXTS, _text),
}
_ESCAPED = re.compile(r'[\x00-\x1f\x7f%\\"]')
_BLANKS = str.maketrans({" ": r"\ ", ",": r"\,", "=": r"\="})
_decode = msgspec.json.Decoder(list[Any]).decode


class Point(NamedTuple):
    """A record on its way. ``series``: the stored tags of :data:`SERIES`."""

    id: RecordId
    version: int
    time: int
    series: tuple[str, ...]
    fields: str
    record: str


def point(record: PointRecord, most_tag: int, most: int) -> Point:
    """A record as points. Raises Refusal."""
    stamp, fields = record.stamp, record.fields
    row = stamp_row(stamp)
    if not 0 <= stamp.version <= MOST_VERSION:
        raise Refusal("bad_number")
    if not LEAST_NS <= record.time_ns <= GREATEST_NS:
        raise Refusal("bad_number")
    tags = _tags(record)
    for name, value in (*record.tags.items(), ("tenant", stamp.tenant or ABSENT)):
        check_texts((name, value))
        if not name or not value or len(value.encode()) > most_tag:
            raise Refusal("bad_tag")
    for name in COUNTS:
        if name in fields and type(fields[name]) is not int:
            raise Refusal("bad_field")
    if not isinstance(fields.get("cost_status", ""), str):
        raise Refusal("bad_field")
    check_numbers(fields.values())
    whole = encoded([*row, record.time_ns, record.tags, fields])
    if len(whole) > most:
        raise Refusal("too_large")
    series = (*(tags[name] for name in TAGS), str(stamp.version))
    return Point(
        stamp.record_id,
        stamp.version,
        record.time_ns,
        series,
        _fields(stamp, fields),
        whole.decode(),
    )


def lines(made: Point, moved: int = 0) -> tuple[str, str]:
    """The two lines of a point: ``event`` and ``record``."""
    tags = "".join(
        [f",{name}={escape(tag)}" for name, tag in zip(SERIES, made.series, strict=True)]
    )
    return (
        f"{EVENT},{MOVED}={moved}{tags} {made.fields} {made.time}",
        f"{RECORD},bucket={bucket(made.id)},version={made.version} "
        f'id="{name_of(made.id)}",json={quoted(made.record)} {made.time}',
    )


def superseded(measurement: str, tags: Iterable[tuple[str, str]], time: int) -> str:
    """The line that marks a point, of which the stored tags are known."""
    series = "".join([f",{name}={escape(value)}" for name, value in tags])
    return f"{measurement}{series} {SUPERSEDED}=true {time}"


def anchor(measurement: str, tags: Iterable[tuple[str, str]], time: int) -> str:
    """The line that has to be written before a point is removed.

    When a removal leaves a series empty, the server takes it out of the index, and with it what is
    written into it in that moment. So one point stays, in the hour of the removed one, which is in
    the same shard.
    """
    hour = max(time // _HOUR_NS * _HOUR_NS, LEAST_NS)
    series = "".join([f",{name}={escape(value)}" for name, value in tags])
    return f"{measurement}{series} {ANCHOR}=true {hour + (hour == time)}"


def bucket(record: RecordId) -> str:
    """The series of ``record`` that an id belongs to."""
    return f"{crc32(name_of(record).encode()) % BUCKETS:03x}"


def name_of(record: RecordId) -> str:
    """``kind:id``."""
    return f"{record.kind}:{record.id}"


def record_of(json: str) -> PointRecord:
    """What the field ``json`` of a ``record`` holds: the stamp's values, then the point's."""
    row = _decode(json)
    return PointRecord(read_stamp(tuple(row)), *row[len(STAMP_COLUMNS) :])


def stored(json: str) -> Stored:
    """The same as ``fetch`` answers it."""
    record = record_of(json)
    content: dict[str, object] = {
        "time_ns": record.time_ns,
        "tags": record.tags,
        "fields": record.fields,
    }
    return Stored(record.stamp, content)


@lru_cache(8_192)
def escape(tag: str) -> str:
    """A stored tag as line protocol has it."""
    return tag.translate(_BLANKS)


@lru_cache(8_192)
def tag_of(value: str | None) -> str:
    """A value as a stored tag: never empty, on one line, without quotes; :func:`plain` reverses it.

    >>> tag_of(None), tag_of("_"), tag_of("50%\\n")
    ('_', '%5F', '50%25%0A')
    """
    return ABSENT if not value else LITERAL_UNDERSCORE if value == ABSENT else _percent(value)


@lru_cache(8_192)
def plain(tag: str) -> str | None:
    """What a stored tag stands for."""
    return None if tag == ABSENT else unquote(tag, errors="strict")


def _stored(tag: str) -> str:
    """A record's tag, in which ``_`` and ``%5F`` have their meaning already, as a stored one."""
    return tag if tag in (ABSENT, LITERAL_UNDERSCORE) else _percent(tag)


def quoted(text: str) -> str:
    """A text as the value of a field."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _percent(value: str) -> str:
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", value)


def _tags(record: PointRecord) -> dict[str, str]:
    """Kind and tenant are the stamp's; tags that are not :data:`TAGS` stay in the record."""
    stamp = record.stamp
    own = {"kind": stamp.kind, "tenant": tag_of(stamp.tenant)}
    return {name: own.get(name) or _stored(record.tags.get(name, ABSENT)) for name in TAGS}


def _fields(stamp: Stamp, fields: Mapping[str, object]) -> str:
    """The fields that are known, each of the one type that it has in every shard."""
    found = [f'event_id="{stamp.id}"', f"event_time={stamp.time}i"]
    if stamp.user is not None:
        found.append(f"user_id={quoted(stamp.user)}")
    for name, value in fields.items():
        write = _WRITTEN.get(name)
        if write is not None and (text := write(value)) is not None:
            found.append(f"{name}={text}")
    return ",".join(found)
