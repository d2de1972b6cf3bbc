"""How structs lie in BLOB columns: one format byte, then msgpack."""

from __future__ import annotations

import msgspec

from schemas.ports import Damaged

_FORMAT = b"\x01"
_encoder = msgspec.msgpack.Encoder()


def pack(value: object) -> bytes:
    """The bytes of a struct."""
    return _FORMAT + _encoder.encode(value)


def body(packed: bytes) -> memoryview:
    """The msgpack part. Raises Damaged for a format that this program does not know."""
    if packed[:1] != _FORMAT:
        raise Damaged("a stored record has a format that this program does not know")
    return memoryview(packed)[1:]
