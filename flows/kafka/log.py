"""The event log as one member of a consumer group reads it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from flows.control import Control
from flows.kafka.buffer import Buffer, Place
from flows.kafka.gaps import Gaps
from flows.kafka.member import Member
from flows.kafka.offsets import GroupOffsets
from flows.kafka.watch import Watch
from flows.source import Span
from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.kafka.client import connect
from sinks.kafka.settings import KafkaSettings

POLL = 0.05
PATIENCE = 0.5
"""Longest wait, in seconds, for a partition that has more, before others go on without it."""
COMMIT_PATIENCE = 30.0
"""Seconds after which a commit that was not answered is no longer waited for."""
COMMIT_AGAIN = 0.4
"""Seconds after one that failed."""
_log = structlog.get_logger("kafka")


class KafkaLog:
    """A :class:`flows.source.Log`: the partitions that the group gives to this member.

    Commits are asynchronous, for a synchronous one holds up the group while it re-balances; only
    the last is waited for. One that fails needs no retry: the next seal says the same and more.
    """

    def __init__(
        self, settings: KafkaSettings, span: Span, control: Control, *, follow: bool,
        accept_gap: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._span = span
        self._control = control
        self._follow = follow
        self._offsets = GroupOffsets(settings, span.topics)
        self._gaps = Gaps(control, accept=accept_gap)
        self._watch = Watch(settings, control)
        self._ends: Mapping[Partition, int] | None = None
        self._sealed: Mapping[Partition, Place] = {}
        self._starved: float | None = None
        self._waiting = False
        self._others: Mapping[Partition, int] = {}
        self._moved = 0.0
        self._again = self._asked = self._committing = 0.0
        self._joined: Member | None = None

    def start(self) -> int:
        if self._joined is None:
            connect(self._settings, self._span.topics)
            if not self._follow:
                self._ends = self._offsets.ends() if self._span.ends is None else self._span.ends
            self._joined = Member(
                self._settings, self._span.topics, self._ends, self._control, self._watch,
                self._on_commit, self._gaps.forget,
            )  # fmt: skip
        else:
            with self._joined.lock:
                self._joined.begin_again()
        committed = self._offsets.load()
        return max((place.log_time for place in committed.values()), default=0)

    def readers(self) -> dict[Partition, Buffer]:
        member = self._member
        with member.lock:
            self._place()
            member.resume()
            member.pull(0.0 if any(member.buffers.values()) else POLL)
            if not any(member.buffers.values()):
                self._waiting = False
                self._watch.ask_again(member.consumer)
                return {}
            self._waiting = self._patient()
            if self._waiting:
                member.pull(POLL / 2)
                return {}
            return {p: b for p, b in member.buffers.items() if len(b)}

    def in_step(self) -> bool:
        member = self._member
        with member.lock:
            return not self._waiting and not any(
                b.misplaced or member.starves(b) for b in member.buffers.values()
            )

    def ended(self) -> bool:
        with self._member.lock:
            own = dict(self._member.buffers)
            if not all(b.done and not b.misplaced for b in own.values()):
                return False
        now = time.monotonic()
        # Nobody gets past a gap: who has one tells of it.
        others = {p: end for p, end in (self._ends or {}).items() if p not in own}
        if not others or any(b.stopped for b in own.values()):
            return True
        if now - self._asked < 1.0:
            return False
        self._asked = now
        try:
            unread = self._offsets.unread(others)
        except Unavailable as error:
            with self._member.lock:
                self._watch.trouble(error.code)
            return False
        # Who has nothing yet may be about to be given all of it.
        return not unread or (bool(own) and self._stands_still(unread))

    def _stands_still(self, unread: Mapping[Partition, int]) -> bool:
        """Whether others read no further in what they have. What one held that died comes here as
        soon as the group misses it."""
        now = time.monotonic()
        if unread != self._others:
            if not self._others:
                _log.info("waits_for_others", partitions=len(unread))
            self._others, self._moved = unread, now
        if now - self._moved < 2 * self._settings.session_timeout_ms / 1_000:
            return False
        _log.warning("others_stand_still", partitions=len(unread))
        return True

    def places(self) -> dict[Partition, Place]:
        with self._member.lock:
            found = ((p, b.place) for p, b in self._member.buffers.items())
            return {p: place for p, place in found if place is not None}

    def commit(self, places: Mapping[Partition, Place]) -> None:
        with self._member.lock:
            self._sealed = places
            now = time.monotonic()
            if now < self._committing:
                return  # One at a time: they would pile up while the coordinator is away.
            todo = self._uncommitted()
            if todo:
                try:
                    self._member.consumer.commit(offsets=todo, asynchronous=True)
                    self._committing = now + COMMIT_PATIENCE
                except KafkaException as error:
                    self._committing = now + COMMIT_AGAIN
                    self._watch.commit_failed(error.args[0])

    def finish(self) -> None:
        member = self._member
        while True:
            with member.lock:
                if not self._uncommitted():
                    break
                # Not synchronously: a call that no broker answers lets no signal through either.
                self.commit(self._sealed)
                member.pull(POLL)  # Serves the answer, and the group, which may take partitions.
            self._control.check()
        if not self._follow:
            self._gaps.report()

    def close(self) -> None:
        """Leaves the group. Safe to call twice."""
        if self._joined is not None:
            self._joined.close()
        self._offsets.close()

    @property
    def _member(self) -> Member:
        assert self._joined is not None, "the source starts the log first"
        return self._joined

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Called inside poll."""
        self._committing = 0.0
        failed = error
        if self._joined is not None:
            for one in offsets:
                failed = failed or one.error
                buffer = self._joined.buffers.get(self._joined.names.to_partition(one))
                if error is None and one.error is None and buffer is not None:
                    buffer.committed = one.offset
        if failed is not None:
            self._committing = time.monotonic() + COMMIT_AGAIN
            self._watch.commit_failed(failed)
        else:
            self._watch.committed()

    def _uncommitted(self) -> list[TopicPartition]:
        """What is sealed, still assigned since, and not committed yet. The broker would accept
        commits for what others own by now."""
        member = self._member
        if not self._sealed:
            return []
        own = member.own()
        return [
            member.names.to_kafka(p, place.offset, str(place.log_time))
            for p, place in self._sealed.items()
            if p in own
            and (buffer := member.buffers.get(p)) is not None
            and buffer.era == place.era
            and buffer.committed != place.offset
        ]

    def _patient(self) -> bool:
        """Whether to wait for a partition that has more, and is empty."""
        member = self._member
        starving = [b for b in member.buffers.values() if not b.late and member.starves(b)]
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

    def _place(self) -> None:
        """Lets partitions begin that could not, or that begin again."""
        buffers = self._member.buffers.values()
        # Of what is lost, records that are at hand are taken first.
        misplaced = [b for b in buffers if b.misplaced == "again" or (b.misplaced and not len(b))]
        if not misplaced or time.monotonic() < self._again:
            return
        try:
            self._place_all(misplaced)
        except KafkaException as error:
            self._again = time.monotonic() + 1.0
            self._watch.failed(error.args[0])
        except Unavailable as error:
            self._again = time.monotonic() + 1.0
            self._watch.trouble(error.code)

    def _place_all(self, misplaced: list[Buffer]) -> None:
        committed = self._offsets.load()
        bounds = self._offsets.bounds(b.partition for b in misplaced if b.misplaced == "lost")
        targets: dict[Partition, int] = {}
        anew: list[Partition] = []
        for buffer in misplaced:
            partition, at = buffer.partition, buffer.fetched
            if at is None and partition in committed:
                at = committed[partition].offset
            if partition not in bounds:
                targets[partition] = OFFSET_BEGINNING if at is None else at
                continue
            target = self._gaps.next(partition, at, *bounds[partition])
            buffer.stopped = target is None
            if target is not None:
                targets[partition] = target
                if at is not None and target < at:
                    anew.append(partition)
        self._member.place(targets)
        for buffer in misplaced:
            buffer.misplaced = None
        self._member.forget(anew)
