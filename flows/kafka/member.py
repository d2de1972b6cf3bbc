"""A member of the consumer group: what it is given, and what has come of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows.control import Control
from flows.kafka.buffer import Buffer
from flows.kafka.offsets import Names
from flows.kafka.watch import Watch
from schemas.log import Partition
from sinks.kafka.client import leave, open_consumer, properties
from sinks.kafka.settings import KafkaSettings

FETCH = 500
BUFFERED = 64 << 20
"""Bytes of records that wait to be taken, over all partitions; a batch of the client more."""
LEAVING = 5.0
"""Seconds that brokers may take to hear that this member goes. Then they find out by themselves."""

_RESET = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._LOG_TRUNCATION,
        KafkaError._NO_OFFSET,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
_EOF = KafkaError._PARTITION_EOF
_log = structlog.get_logger("kafka")

Committed = Callable[[KafkaError | None, list[TopicPartition]], None]


class Member:
    """Joins the group, and keeps a buffer for each partition that is this member's.

    Rebalancing only ever forgets: what was read of a partition that goes is read again by its next
    owner. Nothing is committed of it, and callbacks neither commit nor raise. While nobody else
    polls, because the outputs wait for a store, a thread does, so that the group does not take this
    member for dead. ``lock`` guards everything, callbacks too, which run inside poll and close.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        ends: Mapping[Partition, int] | None,
        control: Control,
        watch: Watch,
        committed: Committed,
        gone: Callable[[Partition], None],
    ) -> None:
        self.lock = threading.RLock()
        self.buffers: dict[Partition, Buffer] = {}
        self.names = Names(settings)
        self._ends = ends
        self._control = control
        self._watch = watch
        self._gone = gone
        self._era = 0
        self._polled = time.monotonic()
        self._idle = min(1.0, settings.max_poll_interval_ms / 4_000)
        self._closed = threading.Event()
        self.consumer = open_consumer(_properties(settings, watch, committed))
        self.consumer.subscribe(
            [settings.topic_prefix + topic for topic in topics],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        self._keeper = threading.Thread(target=self._keep, name="kafka-keeper", daemon=True)
        self._keeper.start()

    def pull(self, seconds: float) -> None:
        """Takes in what has come, and waits so long where nothing has."""
        self._polled = time.monotonic()
        try:
            message = self.consumer.poll(seconds)
            if message is not None:
                self._take_in(message)
                if self._hungry() or self._held() < BUFFERED // 2:
                    for message in self.consumer.consume(FETCH - 1, 0):
                        self._take_in(message)
                    self._hold_back()
        except KafkaException as error:
            self._watch.failed(error.args[0])

    def starves(self, buffer: Buffer) -> bool:
        """Whether it is empty, although there is more, or may be."""
        if len(buffer) or buffer.at_end or buffer.stopped or buffer.done:
            return False
        if buffer.fetched is None:
            return True
        known = self.consumer.get_watermark_offsets(
            self.names.to_kafka(buffer.partition), cached=True
        )
        return known is None or known[1] < 0 or buffer.fetched < known[1]

    def own(self) -> set[Partition]:
        """What the group says is this member's now."""
        return {self.names.to_partition(one) for one in self.consumer.assignment()}

    def begin_again(self) -> None:
        """Forgets what was read, but not what is assigned: all of it is to be placed."""
        for buffer in self.forget(list(self.buffers)):
            buffer.misplaced = "again"

    def forget(self, partitions: Iterable[Partition]) -> list[Buffer]:
        """Forgets what was read of these, so that their offsets may come once more."""
        return [self._adopt(partition) for partition in partitions]

    def place(self, targets: Mapping[Partition, int]) -> None:
        """Goes on reading at these offsets. Raises KafkaException."""
        plain = [self.names.to_kafka(p) for p in targets]
        self.consumer.incremental_unassign(plain)
        self.consumer.incremental_assign([self.names.to_kafka(p, at) for p, at in targets.items()])
        self.consumer.resume(plain)  # Being paused outlives an assignment.
        for partition in targets:
            self.buffers[partition].paused = False

    def resume(self) -> None:
        """Lets those go on that were held back and have been read since."""
        paused = [b for b in self.buffers.values() if b.paused and not b.past_end]
        if not paused or self._held() >= BUFFERED // 2:
            return
        share = BUFFERED // len(self.buffers)
        for buffer in paused:
            if buffer.size <= share // 2:
                buffer.paused = not self._try(self.consumer.resume, buffer)

    def close(self) -> None:
        """Leaves the group. Safe to call twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._keeper.join()
        leave(self.consumer, LEAVING)

    def _held(self) -> int:
        return sum(b.size for b in self.buffers.values())

    def _hungry(self) -> bool:
        return any(map(self.starves, self.buffers.values()))

    def _hold_back(self) -> None:
        """Pauses what has been read to its end, and what has plenty while others have nothing: the
        client throws away what it has fetched of those, so that the others' turn comes."""
        full = self._held() >= BUFFERED
        hungry = full or self._hungry()
        share = BUFFERED // max(1, len(self.buffers))
        for buffer in self.buffers.values():
            if not buffer.paused and (buffer.past_end or full or (hungry and buffer.size >= share)):
                buffer.paused = self._try(self.consumer.pause, buffer)

    def _try(self, call: Any, buffer: Buffer) -> bool:
        """Pauses or resumes; answers whether it did (a partition that goes is neither)."""
        try:
            call([self.names.to_kafka(buffer.partition)])
        except KafkaException:
            return False
        return True

    def _take_in(self, message: Message) -> None:
        topic, number, error = message.topic(), message.partition(), message.error()
        if topic is None or number is None or number < 0:
            if error is not None:
                self._watch.failed(error)
            return
        buffer = self.buffers.get(self.names.of(topic, number))
        if buffer is None:
            return  # It went with the last rebalance.
        if buffer.misplaced is not None and (error is None or error.code() == _EOF):
            return  # What the client had fetched before it is placed anew would hide what is lost.
        if error is None:
            buffer.put(message)
            buffer.paused = False
            self._watch.works()
        elif error.code() == _EOF:
            buffer.reached(message.offset() or 0)
            self._watch.works()
        elif error.code() in _RESET:
            buffer.misplaced = "lost"
        else:
            self._watch.failed(error)

    def _on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        with self.lock:
            for one in assigned:
                self._adopt(self.names.to_partition(one))
            self._control.assigned = len(self.buffers)
        _log.info("assigned", partitions=len(assigned))

    def _on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        with self.lock:
            for partition in map(self.names.to_partition, revoked):
                self.buffers.pop(partition, None)
                if not self._closed.is_set():
                    self._gone(partition)
            self._control.assigned = len(self.buffers)
        _log.info("revoked", partitions=len(revoked))

    def _adopt(self, partition: Partition) -> Buffer:
        self._era += 1
        end = None if self._ends is None else self._ends.get(partition)
        made = Buffer(partition, self._era, end, self.lock)
        self.buffers[partition] = made
        return made

    def _keep(self) -> None:
        """Polls while nobody else does."""
        while not self._closed.wait(self._idle / 2):
            if time.monotonic() - self._polled < self._idle:
                continue
            with self.lock:
                if not self._closed.is_set():
                    self.pull(0.0)


def _properties(settings: KafkaSettings, watch: Watch, committed: Committed) -> dict[str, Any]:
    defaults = {
        "fetch.queue.backoff.ms": 20,
        # Who is resumed waits for the fetch of the others that is under way.
        "fetch.wait.max.ms": 50,
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
        "on_commit": committed,
        "error_cb": watch.failed,
    }
    if settings.protocol == "classic":
        needed["session.timeout.ms"] = settings.session_timeout_ms
        needed["heartbeat.interval.ms"] = min(3_000, settings.session_timeout_ms // 4)
        needed["partition.assignment.strategy"] = "cooperative-sticky"
    if settings.instance_id is not None:
        needed["group.instance.id"] = settings.instance_id
    return defaults | properties(settings) | needed
