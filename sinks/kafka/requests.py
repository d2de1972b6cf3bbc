"""The enrichment queue: events that lack something, in a topic."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import msgspec
import structlog
from confluent_kafka.admin import AdminClient

from schemas.failures import UserError
from schemas.items import Kind, kind_of
from schemas.queues import Queued, Request
from schemas.records import RecordId
from sinks.common.requests import pack_request, unpack_request
from sinks.kafka.backlog import backlog, waiting
from sinks.kafka.client import open_admin
from sinks.kafka.envelope import Envelope
from sinks.kafka.producer import ROOM, KafkaProducer, Message
from sinks.kafka.queue import REQUEUE, Item, KafkaQueue
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import ENRICHMENT
from sinks.seal import Tampered

FORMAT = b"1"

_log = structlog.get_logger("kafka")


def enrich_group(settings: KafkaSettings) -> str:
    """The consumer group that completes events."""
    return f"{settings.group}-enrich"


class KafkaRequests:
    """:class:`schemas.queues.RequestQueue` in ``llm.enrichment.v1``, keyed by event.

    An event may stand there more than once; completing it again changes nothing. Requests hold
    screened text and are sealed with ``key`` (32 bytes; None: left as they are), as what is parked.
    :meth:`put` and :meth:`backlog` are for all threads, the rest for one.
    """

    def __init__(self, settings: KafkaSettings, producer: KafkaProducer, key: bytes | None) -> None:
        self._settings = settings
        self._producer = producer
        self._envelope = Envelope(key)
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()
        self._queue = KafkaQueue(settings, ENRICHMENT, enrich_group(settings))
        self._taken: dict[int, tuple[Item, Queued]] = {}

    def put(self, requests: Sequence[Request], /) -> None:
        """See :meth:`schemas.queues.Requests.put`. What is too large for any message is left out
        with a warning: the event is stored, marked with what it lacks."""
        self._producer.send([m for r in requests if (m := self._message(r)) is not None])

    def take(self, limit: int, /, after: int = 0) -> Sequence[Queued]:
        """See :meth:`schemas.queues.RequestQueue.take`."""
        items = self._queue.take(limit, after)
        self._taken = {n: held for n, held in self._taken.items() if self._queue.holds(n)}
        found = []
        for item in items:
            if item.sequence not in self._taken:
                if item.headers.get("x-request-format") != FORMAT:
                    _log.warning("foreign_message", topic=ENRICHMENT, offset=item.offset)
                    self._queue.settle([item.sequence])
                    continue
                self._taken[item.sequence] = item, self._opened(item)
            found.append(self._taken[item.sequence][1])
        return found

    def settle(self, done: Sequence[Queued], /) -> None:
        """See :meth:`schemas.queues.RequestQueue.settle`. A crash may bring back the last ones."""
        self._queue.settle([queued.sequence for queued in done])
        for queued in done:
            self._taken.pop(queued.sequence, None)

    def failed(self, tried: Sequence[Queued], /) -> None:
        """See :meth:`schemas.queues.RequestQueue.failed`. After some attempts they go to the end
        of the queue, so that the commit passes."""
        counted = {
            queued.sequence: (
                self._taken[queued.sequence][0],
                msgspec.structs.replace(queued, attempts=queued.attempts + 1),
            )
            for queued in tried
            if queued.sequence in self._taken
        }
        moved = [(i, q) for i, q in counted.values() if q.attempts % REQUEUE == 0]
        self._producer.send([_again(item, queued) for item, queued in moved])
        # Only now: when the queue cannot be written, the same is told again.
        self._taken |= counted
        self.settle([queued for _, queued in moved])

    def caught_up(self) -> bool:
        """False while more may come of :meth:`take`, although it has just answered nothing."""
        return self._queue.caught_up()

    def release(self) -> None:
        """Lets other processes read the queue."""
        self._queue.close()
        self._taken.clear()

    def backlog(self) -> int:
        """How many messages stand behind what the group has committed. Raises Unavailable."""
        groups = {ENRICHMENT: enrich_group(self._settings)}
        return backlog(self._connected(), self._settings, groups)[ENRICHMENT]

    def waiting(self) -> Iterator[RecordId]:
        """See :meth:`schemas.queues.RequestQueue.waiting`."""
        group = enrich_group(self._settings)
        for headers in waiting(self._connected(), self._settings, ENRICHMENT, group):
            if headers.get("x-request-format") == FORMAT:
                kind: Kind = headers["x-event-kind"].decode()  # type: ignore[assignment]
                yield RecordId(kind, headers["x-event-id"].decode())

    def close(self) -> None:
        """Ends the reading; the producer has other users."""
        self.release()

    def _connected(self) -> AdminClient:
        with self._lock:
            if self._admin is None:
                self._admin = open_admin(self._settings)
            return self._admin

    def _message(self, request: Request) -> Message | None:
        event = request.item.event
        kind = kind_of(event)
        key = f"{kind}/{event.id}".encode()
        value = self._envelope.close(pack_request(request), _bound(key))
        if len(value) > ROOM:
            _log.warning("request_too_large", kind=kind, event_id=event.id)
            return None
        facts = {
            "x-request-format": FORMAT.decode(),
            "x-original-topic": event.origin.topic,
            "x-original-partition": event.origin.partition,
            "x-original-offset": event.origin.offset,
            "x-original-timestamp": event.origin.timestamp,
            "x-lacks": ",".join(request.lacks),
            "x-retry-count": 0,
            "x-event-kind": kind,
            "x-event-id": event.id,
            "x-payload": self._envelope.name,
        }
        return Message(ENRICHMENT, key, value, [(n, str(v).encode()) for n, v in facts.items()])

    def _opened(self, item: Item) -> Queued:
        name = item.headers.get("x-payload", b"").decode("utf-8", "replace")
        try:
            packed = self._envelope.open(name, item.value, _bound(item.key))
        except Tampered:
            raise UserError(
                f"The queue {ENRICHMENT} holds requests that do not open with this key: restore "
                "the key (MEMORY_GRAPH_KEY) that they were sealed with."
            ) from None
        attempts = int(item.headers.get("x-retry-count", b"0"))
        return Queued(item.sequence, unpack_request(packed), attempts)


def _again(item: Item, queued: Queued) -> Message:
    headers = item.headers | {"x-retry-count": str(queued.attempts).encode()}
    return Message(ENRICHMENT, item.key, item.value, list(headers.items()))


def _bound(key: bytes) -> bytes:
    return b"request\0" + key
