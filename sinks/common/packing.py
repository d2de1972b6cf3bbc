"""How structs lie in stored bytes: one format byte, then msgpack, compressed where it is large."""

from __future__ import annotations

import zlib

import msgspec

from schemas.ports import Damaged
from schemas.records import (
    DocumentRecord,
    GraphRecord,
    PointRecord,
    Record,
    Store,
    VectorRecord,
)

_FORMAT = b"\x01"
_COMPRESSED = b"\x02"
_LARGE = 1 << 16
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Store, msgspec.msgpack.Decoder[Record]] = {
    "graph": msgspec.msgpack.Decoder(GraphRecord),
    "vector": msgspec.msgpack.Decoder(VectorRecord),
    "timeseries": msgspec.msgpack.Decoder(PointRecord),
    "search": msgspec.msgpack.Decoder(DocumentRecord),
}


def pack(value: object) -> bytes:
    """The bytes of a struct."""
    return _FORMAT + _encoder.encode(value)


def shrink(packed: bytes) -> bytes:
    """The same, compressed where it is larger than 64 KiB: what is sealed no log can compress."""
    if len(packed) <= _LARGE or packed[:1] != _FORMAT:
        return packed
    return _COMPRESSED + zlib.compress(memoryview(packed)[1:], 1)


def body(packed: bytes) -> memoryview:
    """The msgpack part. Raises Damaged for a format that this program does not know."""
    if packed[:1] == _FORMAT:
        return memoryview(packed)[1:]
    if packed[:1] != _COMPRESSED:
        raise Damaged("a stored record has a format that this program does not know")
    try:
        return memoryview(zlib.decompress(memoryview(packed)[1:]))
    except zlib.error:
        raise Damaged("a stored record does not decompress") from None


def unpack_record(store: Store, packed: bytes) -> Record:
    """A record of ``store`` from its packed bytes."""
    return _decoders[store].decode(body(packed))
