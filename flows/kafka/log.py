"""The event log as one member of a consumer group reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from flows.control import Control
from flows.kafka.buffer import Buffer, Place
from flows.kafka.gaps import Gaps
from flows.kafka.offsets import GroupOffsets, Names
from flows.kafka.watch import Watch
from flows.source import Span
from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.kafka.client import connect, open_consumer, properties
from sinks.kafka.settings import KafkaSettings

FETCH = 500
POLL = 0.05
PATIENCE = 0.5
"""Longest wait, in seconds, for a partition that has more, before others go on without it."""
COMMIT_PATIENCE = 30.0
"""Seconds after which a commit that was not answered is no longer waited for."""
BUFFERED = 64 << 20
"""Bytes of records that wait to be taken, over all partitions."""

_RESET = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._LOG_TRUNCATION,
        KafkaError._NO_OFFSET,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
_log = structlog.get_logger("kafka")


class KafkaLog:
    """A :class:`flows.source.Log`: the partitions that the group gives to this member.

    Rebalancing only ever forgets: what was read of a partition that goes is read again by its next
    owner. Nothing is committed of it, and callbacks neither commit nor raise. While nobody asks for
    records, because the outputs wait for a store, a thread goes on polling, so that the group does
    not take this member for dead; what comes is kept in bounded buffers.
    """

    def __init__(
        self, settings: KafkaSettings, span: Span, control: Control, *, follow: bool, limit: int,
        accept_gap: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._span = span
        self._control = control
        self._follow = follow
        self._limit = limit
        self._names = Names(settings)
        self._offsets = GroupOffsets(settings, span.topics)
        self._gaps = Gaps(control, accept=accept_gap)
        self._watch = Watch(settings, control)
        self._lock = threading.RLock()
        self._buffers: dict[Partition, Buffer] = {}
        self._misplaced: dict[Partition, bool] = {}
        self._committed: dict[Partition, int] = {}
        self._sealed: Mapping[Partition, Place] = {}
        self._ends: Mapping[Partition, int] | None = None
        self._era = 0
        self._starved: float | None = None
        self._waiting = False
        self._again = self._asked = self._committing = 0.0
        self._polled = time.monotonic()
        self._consumer: Consumer | None = None
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="kafka-keeper", daemon=True)

    def start(self) -> int:
        with self._lock:
            if self._consumer is None:
                connect(self._settings, self._span.topics)
                if not self._follow:
                    self._ends = (
                        self._offsets.ends() if self._span.ends is None else self._span.ends
                    )
                self._consumer = self._join()
                self._keeper.start()
            else:
                for partition in list(self._buffers):
                    self._adopt(partition)
                    self._misplaced[partition] = False
            committed = self._offsets.load()
        return max((place.log_time for place in committed.values()), default=0)

    def _join(self) -> Consumer:
        settings = self._settings
        defaults = {
            "fetch.queue.backoff.ms": 20,
            "fetch.wait.max.ms": 100,
            "fetch.max.bytes": 16 << 20,
            "queued.max.messages.kbytes": 16 << 10,
        }
        needed: dict[str, Any] = {
            "group.id": settings.group,
            "group.protocol": settings.protocol,
            "max.poll.interval.ms": settings.max_poll_interval_ms,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "on_commit": self._on_commit,
            "error_cb": self._watch.failed,
        }
        if settings.protocol == "classic":
            needed["session.timeout.ms"] = settings.session_timeout_ms
            needed["partition.assignment.strategy"] = "cooperative-sticky"
        if settings.instance_id is not None:
            needed["group.instance.id"] = settings.instance_id
        consumer = open_consumer(defaults | properties(settings) | needed)
        consumer.subscribe(
            [settings.topic_prefix + topic for topic in self._span.topics],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        return consumer

    # What the source asks for.

    def readers(self) -> dict[Partition, Buffer]:
        with self._lock:
            self._place()
            self._resume()
            self._fill(0.0 if any(self._buffers.values()) else POLL)
            if not any(self._buffers.values()):
                self._waiting = False
                self._watch.ask_again(self._members())
                return {}
            self._waiting = self._patient()
            if not self._waiting:
                return {p: b for p, b in self._buffers.items() if len(b)}
            self._fill(POLL / 2)
            return {}

    def in_step(self) -> bool:
        with self._lock:
            if self._waiting or self._misplaced:
                return False
            return not any(map(self._starves, self._buffers.values()))

    def ended(self) -> bool:
        with self._lock:
            if self._buffers:
                return not self._misplaced and all(b.done for b in self._buffers.values())
            now = time.monotonic()
            if now - self._asked < 1.0:
                return False
            self._asked = now
            committed, ends = self._offsets.load(), self._ends or {}
        # Others have all the partitions: this member ends when they have read them.
        unread = {p for p, end in ends.items() if p not in committed or committed[p].offset < end}
        return all(end == start for p, (start, end) in self._offsets.bounds(unread).items())

    def places(self) -> dict[Partition, Place]:
        with self._lock:
            found = ((p, b.place) for p, b in self._buffers.items())
            return {p: place for p, place in found if place is not None}

    def commit(self, places: Mapping[Partition, Place]) -> None:
        with self._lock:
            self._sealed = places
            now = time.monotonic()
            if now < self._committing:
                return  # One at a time: they would pile up while the coordinator is away.
            todo = self._uncommitted()
            if todo:
                try:
                    self._members().commit(offsets=todo, asynchronous=True)
                    self._committing = now + COMMIT_PATIENCE
                except KafkaException as error:
                    self._watch.commit_failed(error.args[0])

    def finish(self) -> None:
        while True:
            with self._lock:
                todo = self._uncommitted()
                if not todo:
                    break
                try:
                    self._on_commit(None, self._members().commit(offsets=todo, asynchronous=False))
                except KafkaException as error:
                    self._watch.commit_failed(error.args[0])
                self._fill(0.0)  # Serves the group, which may have taken partitions away.
                done = not self._uncommitted()
            self._control.check()
            if not done:
                self._control.wait(0.1)
        if not self._follow:
            self._gaps.report()

    def close(self) -> None:
        """Leaves the group. Safe to call twice."""
        self._closed.set()
        if self._keeper.is_alive():
            self._keeper.join()
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None
            self._offsets.close()

    # What comes from the cluster. Callbacks run inside poll, consume and close.

    def _fill(self, seconds: float) -> None:
        self._polled = time.monotonic()
        consumer = self._members()
        try:
            message = consumer.poll(seconds)
            if message is not None:
                self._take_in(message)
                for message in consumer.consume(FETCH - 1, 0):
                    self._take_in(message)
        except KafkaException as error:
            self._watch.failed(error.args[0])

    def _take_in(self, message: Message) -> None:
        topic, number = message.topic(), message.partition()
        error = message.error()
        if topic is None or number is None or number < 0:
            if error is not None:
                self._watch.failed(error)
            return
        partition = self._names.of(topic, number)
        buffer = self._buffers.get(partition)
        if buffer is None:
            return  # It went with the last rebalance.
        if error is None:
            buffer.put(message)
            self._watch.works()
            buffer.paused = self._full(buffer) and self._control_flow(self._members().pause, buffer)
        elif error.code() == KafkaError._PARTITION_EOF:
            buffer.reached(message.offset() or 0)
            self._watch.works()
        elif error.code() in _RESET:
            self._misplaced[partition] = True
        else:
            self._watch.failed(error)

    def _on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        with self._lock:
            for one in assigned:
                self._adopt(self._names.to_partition(one))
            self._control.assigned = len(self._buffers)
        _log.info("assigned", partitions=len(assigned))

    def _on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        with self._lock:
            for partition in map(self._names.to_partition, revoked):
                self._buffers.pop(partition, None)
                self._misplaced.pop(partition, None)
                self._committed.pop(partition, None)
                if not self._closed.is_set():
                    self._gaps.forget(partition)
            self._control.assigned = len(self._buffers)
        _log.info("revoked", partitions=len(revoked))

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition] | None) -> None:
        with self._lock:
            self._committing = 0.0
            failed = error
            for one in offsets or ():
                failed = failed or one.error
                partition = self._names.to_partition(one)
                if error is None and one.error is None and partition in self._buffers:
                    self._committed[partition] = one.offset
            if failed is not None:
                self._watch.commit_failed(failed)
            else:
                self._watch.works()

    def _keep(self) -> None:
        """Polls while nobody else does."""
        idle = min(1.0, self._settings.max_poll_interval_ms / 4_000)
        while not self._closed.wait(idle / 2):
            if time.monotonic() - self._polled < idle:
                continue
            with self._lock:
                if not self._closed.is_set():
                    self._fill(0.0)

    # Where partitions stand.

    def _adopt(self, partition: Partition) -> None:
        self._era += 1
        end = None if self._ends is None else self._ends.get(partition)
        self._buffers[partition] = Buffer(partition, self._era, end, self._lock)
        self._committed.pop(partition, None)

    def _place(self) -> None:
        """Lets partitions begin that could not, or that begin again."""
        if not self._misplaced or time.monotonic() < self._again:
            return
        self._again = time.monotonic() + 1.0
        try:
            self._seek()
        except KafkaException as error:
            self._watch.failed(error.args[0])
        except Unavailable as error:
            self._watch.trouble(error.code)

    def _seek(self) -> None:
        consumer, names = self._members(), self._names
        committed = self._offsets.load()
        bounds = self._offsets.bounds(p for p, lost in self._misplaced.items() if lost)
        targets: dict[Partition, int] = {}
        for partition in self._misplaced:
            buffer, at = self._buffers[partition], self._buffers[partition].fetched
            if at is None and partition in committed:
                at = committed[partition].offset
            if partition not in bounds:
                targets[partition] = OFFSET_BEGINNING if at is None else at
                continue
            target = self._gaps.next(partition, at, *bounds[partition])
            buffer.stopped = target is None
            if target is not None:
                targets[partition] = target
        plain = [names.to_kafka(p) for p in targets]
        consumer.incremental_unassign(plain)
        consumer.incremental_assign([names.to_kafka(p, at) for p, at in targets.items()])
        consumer.resume(plain)  # Being paused outlives an assignment.
        for partition in targets:
            self._buffers[partition].paused = False
        self._misplaced.clear()
        self._again = 0.0

    def _uncommitted(self) -> list[TopicPartition]:
        """What is sealed, still assigned since, and not committed yet."""
        if not self._sealed:
            return []
        own = {self._names.to_partition(one) for one in self._members().assignment()}
        return [
            self._names.to_kafka(p, place.offset, str(place.log_time))
            for p, place in self._sealed.items()
            if p in own
            and p in self._buffers
            and self._buffers[p].era == place.era
            and self._committed.get(p) != place.offset
        ]

    def _patient(self) -> bool:
        """Whether to wait for a partition that has more, and is empty."""
        starving = [b for b in self._buffers.values() if not b.late and self._starves(b)]
        if not starving:
            self._starved = None
            return False
        now = time.monotonic()
        if self._starved is None:
            self._starved = now
        if now - self._starved < PATIENCE:
            return True
        for buffer in starving:
            buffer.late = True
        self._starved = None
        return False

    def _starves(self, buffer: Buffer) -> bool:
        """Whether it is empty, although there is more, or may be."""
        if len(buffer) or buffer.at_end or buffer.stopped or buffer.done:
            return False
        if buffer.fetched is None:
            return True
        known = self._members().get_watermark_offsets(
            self._names.to_kafka(buffer.partition), cached=True
        )
        return known is None or buffer.fetched < known[1]

    def _full(self, buffer: Buffer) -> bool:
        if buffer.end is not None and (buffer.fetched or 0) >= buffer.end:
            return True
        return len(buffer) >= 4 * self._limit or buffer.size >= BUFFERED // len(self._buffers)

    def _resume(self) -> None:
        share = BUFFERED // max(1, len(self._buffers))
        for buffer in self._buffers.values():
            if buffer.paused and not buffer.done and len(buffer) < 2 * self._limit:
                if buffer.end is not None and (buffer.fetched or 0) >= buffer.end:
                    continue
                if buffer.size <= share // 2:
                    buffer.paused = not self._control_flow(self._members().resume, buffer)

    def _control_flow(self, call: Any, buffer: Buffer) -> bool:
        """Pauses or resumes; answers whether it did (a partition that goes is neither)."""
        try:
            call([self._names.to_kafka(buffer.partition)])
        except KafkaException:
            return False
        return True

    def _members(self) -> Consumer:
        if self._consumer is None:
            raise Unavailable("kafka", "closed")
        return self._consumer
