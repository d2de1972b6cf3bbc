"""How structs lie in BLOB columns: one format byte, then msgpack."""

from __future__ import annotations

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


def body(packed: bytes) -> memoryview:
    """The msgpack part. Raises Damaged for a format that this program does not know."""
    if packed[:1] != _FORMAT:
        raise Damaged("a stored record has a format that this program does not know")
    return memoryview(packed)[1:]


def unpack_record(store: Store, packed: bytes) -> Record:
    """A record of ``store`` from its packed bytes."""
    return _decoders[store].decode(body(packed))
