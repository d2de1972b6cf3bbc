"""A topic as a queue: the members of one group take messages, and settle them in any order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.ports import Unavailable
from sinks.kafka.client import WHAT, code_of, leave, open_consumer, properties, unavailable
from sinks.kafka.producer import CREATE
from sinks.kafka.reader import headers_of
from sinks.kafka.settings import KafkaSettings

MOST_HELD = 5_000
"""Most messages that are taken and not settled: what a crash lets come again."""
MOST_BYTES = 64 << 20
"""Bytes of what is taken and not settled, above which nothing new is taken."""
LEAVING = 3.0
"""Seconds that a leaver waits for brokers that do not answer, and for another thread that reads."""
_JOINING = 3.0
_RETRY = 2.0
REQUEUE = 3
"""Attempts on a message after which it goes to the end, so that the commit passes it by."""
_DOWN = ("unreachable", "timed_out")
_UNKNOWN = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
_log = structlog.get_logger("kafka")


class Item(msgspec.Struct, frozen=True):
    """A message that was taken. ``sequence`` counts what this reader took."""

    sequence: int
    partition: int
    offset: int
    key: bytes
    headers: dict[str, bytes]
    value: bytes


class KafkaQueue:
    """Reads ``topic`` (without prefix) as a member of ``group``. For one thread; another one may
    close it.

    What is settled is committed up to the first message of each partition that is not, so a crash
    loses nothing and lets come again what was taken since. Joins at the first call of
    :meth:`take`; while nothing new is taken, the partitions are paused and the membership kept.
    """

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._consumer: Consumer | None = None
        self._sequence = 0
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._held: dict[int, Item] = {}
        self._bytes = 0
        self._next: dict[int, int] = {}
        self._assigned: set[int] = set()
        self._ended: set[int] = set()
        self._paused = False  # All partitions are.
        self._resting = False  # Some may be: the client keeps that beyond an assignment.
        self._uncommitted = False
        self._under_way = 0
        self._tried = 0.0
        self._trouble = ""

    def take(self, limit: int, after: int = 0, wait: float = 0.1) -> Sequence[Item]:
        """Up to ``limit`` messages behind sequence ``after``, those that are not settled first.

        Waits for a new one up to ``wait`` seconds. Raises Unavailable.
        """
        with self._lock:
            return self._take(limit, after, wait)

    def _take(self, limit: int, after: int, wait: float) -> Sequence[Item]:
        held = [item for item in self._held.values() if item.sequence > after][:limit]
        consumer = self._joined()
        try:
            if held or len(self._held) >= MOST_HELD or self._bytes >= MOST_BYTES:
                self._tend(consumer)
                return held
            self._resume(consumer)
            if self._uncommitted and time.monotonic() - self._tried > _RETRY:
                self._commit(set(self._next))
            first = consumer.poll(wait)
            if first is not None:
                found = [self._receive(first)]
                if limit > 1:
                    found += map(self._receive, consumer.consume(limit - 1, 0))
                self._complain(found)
            elif self._trouble:
                self._ask(consumer)
        except KafkaException as error:
            raise self._lost(error.args[0]) from None
        return [item for item in self._held.values() if item.sequence > after][:limit]

    def settle(self, sequences: Iterable[int]) -> None:
        """These are done: they do not come again. The commit goes off without waiting; should it
        fail, the next :meth:`take` says the same."""
        with self._lock:
            done = [item for n in sequences if (item := self._held.pop(n, None)) is not None]
            self._bytes -= sum(len(item.value) for item in done)
            if done:
                self._commit({item.partition for item in done})

    def holds(self, sequence: int) -> bool:
        """Whether this message is taken and not settled, and still this member's."""
        return sequence in self._held

    def caught_up(self) -> bool:
        """Whether this member has taken all that stands in the topic now."""
        with self._lock:
            if self._consumer is None:
                return False
            try:
                listed = self._consumer.list_topics(self._name, timeout=_JOINING)
            except KafkaException as error:
                raise unavailable(error) from None
            found = set(listed.topics[self._name].partitions)
            return bool(found) and found <= self._assigned & self._ended

    def close(self) -> None:
        """Leaves the group after committing what is settled, as far as that can be in a few
        seconds: what cannot comes again. May be used again."""
        if not self._lock.acquire(timeout=LEAVING):
            _log.warning("leave_failed", topic=self._topic, code="read_elsewhere")
            return
        try:
            consumer = self._consumer
            if consumer is not None:
                self._leave(consumer)
        finally:
            self._lock.release()

    def _leave(self, consumer: Consumer) -> None:
        self._commit(set(self._next))
        late = time.monotonic() + LEAVING
        try:
            while self._under_way and time.monotonic() < late:
                consumer.poll(0.1)  # For the answer. What comes beside it comes again.
        except KafkaException as error:
            _log.warning("leave_failed", topic=self._topic, code=code_of(error.args[0]))
        self._consumer = None
        self._forget()
        leave(consumer, LEAVING)

    @property
    def _name(self) -> str:
        return self._settings.topic_prefix + self._topic

    def _joined(self) -> Consumer:
        if self._consumer is None:
            defaults: dict[str, Any] = {"queued.max.messages.kbytes": 32 << 10}
            needed: dict[str, Any] = {
                "group.id": self._group,
                "group.protocol": self._settings.protocol,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 20,
                "max.poll.interval.ms": self._settings.max_poll_interval_ms,
                "error_cb": self._failed,
                "on_commit": self._committed,
            }
            if self._settings.protocol == "classic":
                needed["partition.assignment.strategy"] = "cooperative-sticky"
                needed["session.timeout.ms"] = self._settings.session_timeout_ms
            self._forget()
            consumer = open_consumer(defaults | properties(self._settings) | needed)
            consumer.subscribe(
                [self._name],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )
            self._consumer = consumer
        return self._consumer

    def _receive(self, message: Any) -> KafkaError | None:
        """Keeps a message. An error is answered, and raised only when all that came with it is
        kept: the client has passed it on, and the next commit would pass it by."""
        error: KafkaError | None = message.error()
        partition, offset = message.partition(), message.offset()
        if error is None:
            self._trouble = ""
            self._sequence += 1
            self._next[partition] = offset + 1
            self._ended.discard(partition)
            value = message.value() or b""
            self._bytes += len(value)
            self._held[self._sequence] = Item(
                self._sequence,
                partition,
                offset,
                message.key() or b"",
                headers_of(message),
                value,
            )
        elif error.code() == KafkaError._PARTITION_EOF:
            self._next.setdefault(partition, offset)
            self._ended.add(partition)
            return None
        return error

    def _complain(self, errors: Iterable[KafkaError | None]) -> None:
        for error in errors:
            if error is None:
                continue
            if error.code() in _UNKNOWN:
                raise Unavailable(f"the topic {self._name} ({CREATE})", "unknown_topic")
            if error.fatal() or error.code() == KafkaError._FATAL:
                raise self._lost(error)
            self._failed(error)

    def _tend(self, consumer: Consumer) -> None:
        """Stays a member without taking anything."""
        if not self._paused:
            consumer.pause(consumer.assignment())
            self._paused = self._resting = True
        message = consumer.poll(0)
        if message is not None:
            self._complain([self._receive(message)])

    def _ask(self, consumer: Consumer) -> None:
        """Nothing comes and something was wrong: is it still?"""
        try:
            consumer.list_topics(self._name, timeout=1.0)
        except KafkaException as error:
            code = code_of(error.args[0])
            raise Unavailable(WHAT, code if self._trouble in _DOWN else self._trouble) from None
        self._trouble = ""

    def _resume(self, consumer: Consumer) -> None:
        if self._resting:
            consumer.resume(consumer.assignment())
            self._paused = self._resting = False

    def _commit(self, partitions: set[int]) -> None:
        first: dict[int, int] = {}
        for item in self._held.values():
            first.setdefault(item.partition, item.offset)
        offsets = [
            TopicPartition(self._name, p, first.get(p, self._next[p]))
            for p in partitions & self._assigned
            if p in self._next
        ]
        if not offsets or self._consumer is None:
            return
        self._tried = time.monotonic()
        try:
            # Never synchronously: a call that nobody answers lets no signal through.
            self._consumer.commit(offsets=offsets, asynchronous=True)
            self._under_way += 1
        except KafkaException as error:
            self._uncommitted = True
            _log.warning("commit_failed", topic=self._topic, code=code_of(error.args[0]))

    def _committed(self, error: KafkaError | None, found: Sequence[TopicPartition] | None) -> None:
        """What could not be committed comes again, here or at another member."""
        self._under_way = max(0, self._under_way - 1)
        errors = [error, *(partition.error for partition in found or ())]
        codes = {code_of(failed) for failed in errors if failed is not None}
        self._uncommitted = bool(codes)
        if codes:
            _log.warning("commit_failed", topic=self._topic, code=min(codes))

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {p.partition for p in partitions}
        self._paused, self._resting = False, True

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return  # It has left.
        gone = {p.partition for p in partitions}
        self._assigned -= gone
        self._ended -= gone
        self._held = {n: item for n, item in self._held.items() if item.partition not in gone}
        self._bytes = sum(len(item.value) for item in self._held.values())
        for partition in gone:
            self._next.pop(partition, None)

    def _failed(self, error: KafkaError) -> None:
        code = code_of(error)
        if code != self._trouble:
            _log.warning("client_trouble", topic=self._topic, code=code)
        self._trouble = code

    def _lost(self, error: KafkaError) -> Unavailable:
        """After a fatal error the next call joins as a new member."""
        if error.fatal() or error.code() == KafkaError._FATAL:
            consumer, self._consumer = self._consumer, None
            self._forget()
            if consumer is not None:
                consumer.close()
        return Unavailable(WHAT, code_of(error))
