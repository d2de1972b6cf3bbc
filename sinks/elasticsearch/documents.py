"""Records as documents and back: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from schemas.log import Origin
from schemas.ports import Stored
from schemas.records import DocumentRecord, RecordId, Stamp, Value
from sinks.common.stamps import (
    Refusal,
    check_size,
    check_texts,
    from_json,
    record_id,
    stamp_row,
    to_json,
)
from sinks.common.words import unspaced
from sinks.elasticsearch.layout import KEYWORDS, NUMBERS, Names, characters

ERASING = 1 << 62
"""The version that a deletion carries: greater than that of any record."""

_encode = msgspec.json.Encoder().encode


class Entry(NamedTuple):
    """A document on its way: the index it belongs in and the two lines of a bulk request."""

    id: RecordId
    place: str
    action: bytes
    source: bytes


def entry(record: DocumentRecord, names: Names, most: int) -> Entry:
    """A record as a document of external version. Raises Refusal."""
    stamp = record.stamp
    stamp_row(stamp)
    if not 0 <= stamp.version < ERASING:
        raise Refusal("bad_number")
    check_texts((record.text,))
    fields = to_json(record.fields)
    check_size((record.text, fields), most)
    source: dict[str, object] = _known(record.fields)
    source |= _stamp(stamp)
    source["fields"] = fields
    source["text"] = record.text
    source["bytes"] = len(record.text) + len(fields)
    if unspaced(record.text):
        source["characters"] = characters(record.text)
    index = names.index(stamp.time)
    action = _action("index", index, stamp.record_id, stamp.version)
    return Entry(stamp.record_id, index, action, _encode(source))


def document_id(record: RecordId) -> str:
    """``kind:id``."""
    return f"{record.kind}:{record.id}"


def deletion(record: RecordId, index: str) -> bytes:
    """The line of a bulk request that removes a document and whatever comes of it later."""
    return _action("delete", index, record, ERASING)


def tombstone(record: RecordId, index: str) -> tuple[bytes, bytes]:
    """The two lines of a bulk request that say for good that an id is erased."""
    place = {"_index": index, "_id": document_id(record)}
    return _encode({"index": place}), _encode({"kind": record.kind, "id": record.id})


def stored(source: Mapping[str, Any]) -> Stored:
    """What a document holds."""
    origin = Origin(source["topic"], source["partition"], source["offset"], source["log_timestamp"])
    identity = record_id(source["kind"], source["id"])
    stamp = Stamp(
        identity.kind,
        identity.id,
        source["version"],
        source["time"],
        origin,
        source["pipeline"],
        source["tenant"],
        source["user"],
        source["sha256"],
    )
    return Stored(stamp, {"text": source["text"], "fields": from_json(source["fields"])})


def _action(operation: str, index: str, record: RecordId, version: int) -> bytes:
    place = {"_index": index, "_id": document_id(record)}
    return _encode({operation: place | {"version": version, "version_type": "external_gte"}})


def _stamp(stamp: Stamp) -> dict[str, object]:
    origin = stamp.origin
    return {
        "kind": stamp.kind,
        "id": stamp.id,
        "version": stamp.version,
        "time": stamp.time,
        "@timestamp": stamp.time // 1_000,
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "log_timestamp": origin.timestamp,
        "pipeline": stamp.pipeline,
        "tenant": stamp.tenant,
        "user": stamp.user,
        "sha256": stamp.sha256,
    }


def _known(fields: Mapping[str, Value]) -> dict[str, object]:
    """The fields that are mapped, each only where its value is of the mapped type."""
    found: dict[str, object] = {}
    for name in KEYWORDS:
        value = fields.get(name)
        if isinstance(value, str | tuple | list):
            found[name] = value
    for name in NUMBERS:
        number = fields.get(name)
        if type(number) is int:
            found[name] = number
    return found
