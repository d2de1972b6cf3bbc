"""How an enrichment request lies in stored bytes: without the original, which is never stored."""

from __future__ import annotations

import msgspec

from schemas.items import Embedded, Lack, PromptSide, ScreenedEvent
from schemas.queues import Request
from sinks.common.packing import body, pack


class _Stored(msgspec.Struct, frozen=True):
    event: ScreenedEvent
    vector: bytes | None
    vector_model: str | None
    lacks: tuple[Lack, ...]
    side: PromptSide | None
    orphan: bool
    log_time: int


_requests = msgspec.msgpack.Decoder(_Stored)


def pack_request(request: Request) -> bytes:
    """The bytes of a request."""
    item = request.item
    return pack(
        _Stored(
            item.event,
            item.vector,
            item.vector_model,
            request.lacks,
            request.side,
            request.orphan,
            request.log_time,
        )
    )


def unpack_request(packed: bytes) -> Request:
    """A request from its bytes. Raises Damaged for a format that this program does not know."""
    stored = _requests.decode(body(packed))
    return Request(
        Embedded(stored.event, stored.vector, stored.vector_model),
        stored.lacks,
        stored.side,
        stored.orphan,
        stored.log_time,
    )


def knowledge(request: Request) -> int:
    """How much is known of the prompt: of two requests of an event the lesser can go."""
    return 2 * (request.side is not None) + request.orphan
