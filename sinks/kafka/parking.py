"""The reconciliation queues: a topic for each store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import structlog
from confluent_kafka.admin import AdminClient

from schemas.failures import UserError
from schemas.items import Kind
from schemas.queues import DeadLetters, Parked, Refused
from schemas.records import STORES, Record, RecordId, Store
from sinks.common.packing import pack, unpack_record
from sinks.kafka.backlog import backlog, waiting
from sinks.kafka.client import open_admin
from sinks.kafka.envelope import Envelope
from sinks.kafka.producer import ROOM, KafkaProducer, Message
from sinks.kafka.queue import REQUEUE, Item, KafkaQueue
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import reconciliation
from sinks.seal import Tampered

FORMAT = b"1"

_log = structlog.get_logger("kafka")


def reconcile_group(settings: KafkaSettings, store: Store) -> str:
    """The consumer group that writes what one store owes: none holds up another."""
    return f"{settings.group}-reconcile-{store}"


class KafkaParking:
    """:class:`schemas.queues.ParkingQueue` in ``llm.reconciliation.<store>.v1``.

    Records are keyed by identity; one may stand there more than once, and writing it again changes
    nothing. They are sealed with ``key`` (32 bytes; None: left as they are) like dead letters: what
    waits is screened text, but nobody needs to read it there.

    :meth:`park` and :meth:`backlog` are for all threads; of one store, only one thread may take.
    ``letters`` gets a record that is too large for any message.
    """

    outages: frozenset[str] = frozenset()

    def __init__(
        self,
        settings: KafkaSettings,
        producer: KafkaProducer,
        letters: DeadLetters,
        key: bytes | None,
    ) -> None:
        self._settings = settings
        self._producer = producer
        self._letters = letters
        self._envelope = Envelope(key)
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()
        self._queues = {
            s: KafkaQueue(settings, reconciliation(s), reconcile_group(settings, s)) for s in STORES
        }
        self._taken: dict[Store, dict[int, tuple[Item, Parked]]] = {s: {} for s in STORES}

    def park(self, store: Store, records: Sequence[tuple[Record, str]], /) -> None:
        """See :meth:`schemas.queues.Parking.park`."""
        messages: list[Message] = []
        too_large: list[Refused] = []
        for record, code in records:
            value = self._envelope.close(pack(record), _associated(store, record))
            if len(value) > ROOM:
                too_large.append(Refused(store, record, "too_large_to_park"))
            else:
                key, headers = _key(record), _headers(record, self._envelope.name, code, 0)
                messages.append(Message(reconciliation(store), key, value, headers))
        if too_large:
            self._letters.put(too_large)
        self._producer.send(messages)

    def take(self, store: Store, limit: int, /, after: int = 0) -> Sequence[Parked]:
        """See :meth:`schemas.queues.ParkingQueue.take`."""
        held = self._taken[store]
        items = self._queues[store].take(limit, after)
        if len(held) > len(items):
            # Partitions that went to another member took what was held of them along.
            alive = self._queues[store].holds
            for sequence in [n for n in held if not alive(n)]:
                del held[sequence]
        for item in items:
            if item.sequence not in held:
                parked = self._opened(store, item)
                if parked is None:
                    self._queues[store].settle([item.sequence])
                else:
                    held[item.sequence] = item, parked
        return [held[item.sequence][1] for item in items if item.sequence in held]

    def settle(self, done: Sequence[Parked], /) -> None:
        """See :meth:`schemas.queues.ParkingQueue.settle`."""
        for store in {parked.store for parked in done}:
            sequences = [parked.sequence for parked in done if parked.store == store]
            self._queues[store].settle(sequences)
            for sequence in sequences:
                self._taken[store].pop(sequence, None)

    def failed(self, tried: Sequence[tuple[Parked, str]], /) -> None:
        """See :meth:`schemas.queues.ParkingQueue.failed`."""
        counted: list[tuple[Item, Parked]] = []
        for parked, code in tried:
            held = self._taken[parked.store].get(parked.sequence)
            if held is not None:
                attempts = parked.attempts + 1
                again = msgspec.structs.replace(parked, attempts=attempts, code=code)
                counted.append((held[0], again))
        moved = [(i, p) for i, p in counted if p.attempts % REQUEUE == 0]
        self._producer.send([self._again(item, parked) for item, parked in moved])
        # Only now: when the queue cannot be written, the same is told again.
        for item, parked in counted:
            self._taken[parked.store][parked.sequence] = item, parked
        self.settle([parked for _, parked in moved])

    def caught_up(self, store: Store, /) -> bool:
        """See :meth:`schemas.queues.ParkingQueue.caught_up`."""
        return self._queues[store].caught_up()

    def release(self, store: Store, /) -> None:
        """See :meth:`schemas.queues.ParkingQueue.release`."""
        self._queues[store].close()
        self._taken[store].clear()

    def backlog(self) -> Mapping[Store, int]:
        """How many messages stand behind what the groups have committed. Raises Unavailable."""
        topics = {reconciliation(s): reconcile_group(self._settings, s) for s in STORES}
        left = backlog(self._connected(), self._settings, topics)
        return {store: left[reconciliation(store)] for store in STORES}

    def waiting(self, store: Store, /) -> Iterator[tuple[RecordId, int]]:
        """See :meth:`schemas.queues.ParkingQueue.waiting`."""
        topic, group = reconciliation(store), reconcile_group(self._settings, store)
        for headers in waiting(self._connected(), self._settings, topic, group):
            if headers.get("x-parked-format") == FORMAT:
                kind: Kind = headers["x-event-kind"].decode()  # type: ignore[assignment]
                identity = RecordId(kind, headers["x-event-id"].decode())
                yield identity, int(headers["x-record-version"])

    def close(self) -> None:
        """Ends the reading; the producer has other users."""
        for store in STORES:
            self.release(store)

    def _connected(self) -> AdminClient:
        with self._lock:
            if self._admin is None:
                self._admin = open_admin(self._settings)
            return self._admin

    def _opened(self, store: Store, item: Item) -> Parked | None:
        """A record of ours; None for a message that is none."""
        headers = item.headers
        if headers.get("x-parked-format") != FORMAT:
            _log.warning("foreign_message", topic=reconciliation(store), offset=item.offset)
            return None
        text = {name: content.decode("utf-8", "replace") for name, content in headers.items()}
        bound = _bound(store, item.key)
        try:
            packed = self._envelope.open(text.get("x-payload", ""), item.value, bound)
        except Tampered:
            raise UserError(
                f"The queue {reconciliation(store)} holds records that do not open with this key: "
                "restore the key (MEMORY_GRAPH_KEY) that they were sealed with."
            ) from None
        attempts = int(text["x-retry-count"])
        record = unpack_record(store, packed)
        return Parked(item.sequence, store, record, text["x-failure-reason"], attempts)

    def _again(self, item: Item, parked: Parked) -> Message:
        name = item.headers["x-payload"].decode()
        headers = _headers(parked.record, name, parked.code, parked.attempts)
        return Message(reconciliation(parked.store), item.key, item.value, headers)


def _key(record: Record) -> bytes:
    return f"{record.stamp.kind}/{record.stamp.id}".encode()


def _associated(store: Store, record: Record) -> bytes:
    return _bound(store, _key(record))


def _bound(store: Store, key: bytes) -> bytes:
    return b"parked\0" + store.encode() + b"\0" + key


def _headers(record: Record, payload: str, code: str, attempts: int) -> list[tuple[str, bytes]]:
    stamp = record.stamp
    facts = {
        "x-parked-format": FORMAT.decode(),
        "x-original-topic": stamp.origin.topic,
        "x-original-partition": stamp.origin.partition,
        "x-original-offset": stamp.origin.offset,
        "x-original-timestamp": stamp.origin.timestamp,
        "x-failure-stage": "write",
        "x-failure-reason": code,
        "x-retry-count": attempts,
        "x-event-kind": stamp.kind,
        "x-event-id": stamp.id,
        "x-record-version": stamp.version,
        "x-payload": payload,
    }
    return [(name, str(value).encode()) for name, value in facts.items()]
