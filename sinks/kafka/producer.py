"""The producer of the queues: what it has sent is on the brokers, or it raises in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException

from schemas.ports import Unavailable
from sinks.kafka.client import WHAT, code_of, missing_topics, open_producer, properties, unavailable
from sinks.kafka.settings import KafkaSettings

SECONDS = 4.0
LIMIT = 16 << 20
"""Largest message in bytes, as the topics of the queues have it (``max.message.bytes``)."""
ROOM = LIMIT - (128 << 10)
"""Largest value: key, headers and the batch around them stay below the rest."""
CREATE = "memory-graph topics create"
_BURST_BYTES = 32 << 20
_BURST = 2_000
_LATE = (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT)
_DOWN = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
_GONE = (
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)

_log = structlog.get_logger("kafka")


class Message(msgspec.Struct, frozen=True):
    """``topic`` by its logical name, without the prefix of the installation."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class KafkaProducer:
    """An idempotent producer for all queues. Safe for several threads; connects at the first send.

    ``seconds`` bounds a send: what the brokers have not confirmed by then raises. It may have
    arrived all the same, so whoever sends again must have keys.
    """

    def __init__(self, settings: KafkaSettings, *, seconds: float = SECONDS) -> None:
        self._settings = settings
        self._seconds = seconds
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._known: frozenset[str] = frozenset()
        self._closed = False

    def send(self, messages: Sequence[Message], /) -> None:
        """All of them are confirmed by all in-sync replicas when it returns. Raises Unavailable;
        no retry helps a value larger than :data:`ROOM` (``msg_size_too_large``)."""
        for part in _bursts(messages):
            self._send(part, time.monotonic() + self._seconds)

    def check(self, topics: Sequence[str]) -> None:
        """Raises UserError where a topic is missing, and Unavailable."""
        missing = self._missing(self._connected(), topics, time.monotonic() + self._seconds)
        if missing:
            raise missing_topics(self._settings, missing)

    def close(self) -> None:
        """Later sends find it unavailable."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, messages: Sequence[Message], deadline: float) -> None:
        client = self._connected()
        missing = self._missing(client, (m.topic for m in messages), deadline)
        if missing:
            name = self._settings.topic_prefix + missing[0]
            _log.error("no_topic", topic=name, run=CREATE)
            raise Unavailable(f"the topic {name} ({CREATE})", "unknown_topic")
        reports = _Reports(len(messages))
        prefix = self._settings.topic_prefix
        try:
            for message in messages:
                client.produce(prefix, message, reports, deadline)
        except KafkaException as error:
            self._note(client, error.args[0])
            raise unavailable(error) from None
        # The client reports what timed out itself, a moment after its own deadline.
        reports.wait(deadline + 1.0 - time.monotonic())
        failed = reports.error
        if failed is not None:
            self._note(client, failed)
            late = failed.code() in _LATE and client.state.trouble
            raise Unavailable(WHAT, client.state.trouble if late else code_of(failed))
        if not reports.complete:
            self._discard(client)
            raise Unavailable(WHAT, client.state.trouble or "timed_out")
        client.state.trouble = ""

    def _connected(self) -> _Client:
        with self._lock:
            if self._closed:
                raise Unavailable(WHAT, "closed")
            if self._client is not None and self._client.state.fatal:
                self._client.abandon()
                self._client = None
            if self._client is None:
                self._client = _Client(self._settings, self._seconds)
            return self._client

    def _missing(self, client: _Client, topics: Iterable[str], deadline: float) -> list[str]:
        """The topics that do not exist. Asks only for those not seen yet: the client itself would
        search for half a minute."""
        prefix = self._settings.topic_prefix
        names = {prefix + topic: topic for topic in topics}
        if names.keys() <= self._known:
            return []
        try:
            self._known = client.topics(max(0.1, deadline - time.monotonic()))
        except KafkaException as error:
            code = code_of(error.args[0])
            raise Unavailable(WHAT, client.state.trouble or code) from None
        return sorted(topic for name, topic in names.items() if name not in self._known)

    def _note(self, client: _Client, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._discard(client)
        if error.code() in _GONE:
            self._known = frozenset()

    def _discard(self, client: _Client) -> None:
        """The next send starts a client of its own."""
        with self._lock:
            if self._client is not client:
                return
            self._client = None
        client.abandon()


class _Reports:
    """The delivery reports of one send, which come from the client's thread."""

    def __init__(self, expected: int) -> None:
        self._left = expected
        self._done = threading.Event()
        self.error: KafkaError | None = None
        if not expected:
            self._done.set()

    def __call__(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and self.error is None:
            self.error = error
        self._left -= 1
        if self._left == 0:
            self._done.set()

    def wait(self, seconds: float) -> None:
        self._done.wait(max(0.0, seconds))

    @property
    def complete(self) -> bool:
        return self._done.is_set()


class _State:
    """What a client's errors say of it."""

    def __init__(self) -> None:
        self.fatal = False
        self.trouble = ""

    def failed(self, error: KafkaError) -> None:
        """The only place where a refused sign-in shows, before "all brokers are down" follows."""
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.fatal = True
        if not self.trouble or error.code() not in _DOWN:
            self.trouble = code_of(error)


class _Client:
    """librdkafka's producer, and the thread in which its reports arrive. No cycle leads back to it,
    so its own threads and connections go with its last user."""

    def __init__(self, settings: KafkaSettings, seconds: float) -> None:
        self.state = _State()
        defaults = {
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.kbytes": 256 << 10,
        }
        needed = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.timeout.ms": int(1_000 * seconds),
            "message.max.bytes": LIMIT,
            "error_cb": self.state.failed,
        }
        self._producer = open_producer(defaults | properties(settings) | needed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-reports", daemon=True)
        self._thread.start()

    def produce(self, prefix: str, message: Message, reports: _Reports, deadline: float) -> None:
        """Queues a message; waits for room until the deadline."""
        while True:
            try:
                self._producer.produce(
                    prefix + message.topic,
                    key=message.key,
                    value=message.value,
                    headers=message.headers,  # type: ignore[arg-type]
                    on_delivery=reports,
                )
            except BufferError:
                if time.monotonic() > deadline:
                    raise Unavailable(WHAT, self.state.trouble or "queue_full") from None
                self._ended.wait(0.01)
            else:
                return

    def topics(self, seconds: float) -> frozenset[str]:
        """All topics; unlike the question for one, this never makes it."""
        return frozenset(self._producer.list_topics(timeout=seconds).topics)

    def close(self) -> None:
        self._producer.flush(1.0)
        self.abandon()

    def abandon(self) -> None:
        """Gives up what is not sent."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._producer.purge()

    def _poll(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(0.1)


def _bursts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """In parts that arrive well within the deadline, which holds for each."""
    start = size = 0
    for end, message in enumerate(messages):
        size += len(message.value)
        if end > start and (size > _BURST_BYTES or end - start >= _BURST):
            yield messages[start:end]
            start, size = end, len(message.value)
    if start < len(messages):
        yield messages[start:]
