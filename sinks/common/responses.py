"""A waiting response as stored bytes: :class:`schemas.items.Embedded` without the original."""

from __future__ import annotations

import msgspec

from schemas.items import Embedded, ScreenedEvent, ScreenedResponse
from schemas.ports import Waiting
from sinks.common.packing import body, pack


class _Stored(msgspec.Struct, frozen=True):
    event: ScreenedEvent
    vector: bytes | None
    vector_model: str | None


_decoder = msgspec.msgpack.Decoder(_Stored)


def pack_response(response: Embedded) -> bytes:
    """The bytes of a response. Raw bytes are never stored: the original stays behind."""
    return pack(_Stored(response.event, response.vector, response.vector_model))


def unpack_response(packed: bytes) -> Embedded:
    """What :func:`pack_response` packed. Raises Damaged."""
    stored = _decoder.decode(body(packed))
    return Embedded(stored.event, vector=stored.vector, vector_model=stored.vector_model)


def prompt_of(waiting: Waiting) -> str:
    """The id of the prompt that a response waits for."""
    event = waiting.response.event
    assert isinstance(event, ScreenedResponse)
    return event.prompt_id
