"""What happens to the wish to complete an event that lacks something."""

from __future__ import annotations

from flows.control import Control
from flows.delivery import persist
from schemas.chunk import Chunk
from schemas.queues import Request, Requests
from schemas.records import Mutation


def requests_of(chunk: Chunk[Mutation]) -> tuple[Request, ...] | None:
    """The requests of a chunk's mutations; None where nothing is lacking."""
    return tuple(m.request for m in chunk.items if m.request is not None) or None


class RequestWriter:
    """Queues enrichment requests. While the queue cannot be written it does not return, so the
    worker reads no further: what lacks something is never forgotten."""

    name = "enrichment"

    def __init__(self, requests: Requests, control: Control) -> None:
        self._requests = requests
        self._control = control

    def __call__(self, *parts: tuple[Request, ...]) -> None:
        requests = [request for part in parts for request in part]
        persist(lambda: self._requests.put(requests), self._control)
