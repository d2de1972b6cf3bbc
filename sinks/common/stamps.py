"""Stamps as columns, the checks that every record passes, and canonical JSON for what is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

import msgspec

from schemas.items import Kind
from schemas.log import Origin
from schemas.records import RecordId, Stamp

STAMP_COLUMNS = (
    "kind",
    "id",
    "version",
    "time",
    "topic",
    '"partition"',
    '"offset"',
    "log_timestamp",
    "pipeline",
    "tenant",
    "user",
    "sha256",
)
STAMP = ", ".join(STAMP_COLUMNS)
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAST, GREATEST = -(1 << 63), (1 << 63) - 1
_IS_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_ENCODE = msgspec.json.Encoder(order="sorted").encode
_MEASURE = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A record that the store will never take; ``code`` is ours and stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def is_identity(kind: str, id_: str) -> bool:
    """Whether it is a kind we know and a lower-case UUID."""
    return kind in KINDS and _IS_UUID(id_) is not None


def stamp_row(stamp: Stamp) -> tuple[object, ...]:
    """The values of :data:`STAMP_COLUMNS`. Refuses ids that are not lower-case UUIDs."""
    origin = stamp.origin
    if not is_identity(stamp.kind, stamp.id):
        raise Refusal("bad_id")
    for number in (stamp.version, stamp.time, origin.partition, origin.offset, origin.timestamp):
        if not LEAST <= number <= GREATEST:
            raise Refusal("bad_number")
    for text in (origin.topic, stamp.pipeline, stamp.sha256, stamp.tenant, stamp.user):
        if text and not text.isascii():
            check_texts((text,))
    return (
        stamp.kind,
        stamp.id,
        stamp.version,
        stamp.time,
        origin.topic,
        origin.partition,
        origin.offset,
        origin.timestamp,
        stamp.pipeline,
        stamp.tenant,
        stamp.user,
        stamp.sha256,
    )


def read_stamp(row: tuple[Any, ...]) -> Stamp:
    """The stamp in the first twelve columns of a row that was selected with :data:`STAMP`."""
    kind, id_, version, time, topic, partition, offset, timestamp, *rest = row[:12]
    return Stamp(kind, id_, version, time, Origin(topic, partition, offset, timestamp), *rest)


def record_id(kind: str, id_: str) -> RecordId:
    """The identity in two columns of a row."""
    return RecordId(cast("Kind", kind), id_)


def check_texts(texts: Iterable[str]) -> None:
    """Refuses what UTF-8 cannot hold: lone surrogates."""
    try:
        whole = "".join(texts)
        if not whole.isascii():
            whole.encode()
    except (UnicodeEncodeError, TypeError):
        raise Refusal("bad_text") from None


def check_size(texts: Iterable[str], most: int) -> None:
    """Refuses more than so many bytes of UTF-8; counts bytes only where they could be too many."""
    found = list(texts)
    if 4 * sum(map(len, found)) > most and sum(len(text.encode()) for text in found) > most:
        raise Refusal("too_large")


def to_json(values: Mapping[str, object]) -> str:
    """Canonical JSON of flat properties: sorted keys, integers of 64 bits, finite floats."""
    check_numbers(values.values())
    return encoded(values).decode()


def check_numbers(values: Iterable[object]) -> None:
    """Refuses numbers that would not read back as they are."""
    for value in values:
        if type(value) is int:
            if not LEAST <= value <= GREATEST:
                raise Refusal("bad_number")
        elif type(value) is float and not math.isfinite(value):
            raise Refusal("bad_number")


def encoded(value: object) -> bytes:
    """Canonical JSON: sorted keys, UTF-8. Numbers are to be checked before."""
    try:
        return _ENCODE(value)
    except UnicodeEncodeError:
        raise Refusal("bad_text") from None
    except (TypeError, OverflowError):
        raise Refusal("bad_value") from None


def measured(value: object) -> int:
    """Bytes of the value as JSON, in one pass in C that also refuses what UTF-8 cannot hold."""
    try:
        return len(_MEASURE(value))
    except UnicodeEncodeError:
        raise Refusal("bad_text") from None
    except (TypeError, OverflowError):
        raise Refusal("bad_value") from None


def from_json(text: str) -> dict[str, Any]:
    """What :func:`to_json` wrote; sequences come back as lists."""
    return cast("dict[str, Any]", msgspec.json.decode(text))
