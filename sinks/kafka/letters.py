"""The dead-letter queue in the twins of the input topics."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence

import structlog

from schemas.events import TOPICS
from schemas.failures import Rejected
from schemas.log import Origin, Original, Partition
from schemas.queues import DeadLetter, Refused
from schemas.records import Store
from sinks.common import letter_table as table
from sinks.common.letters import entry
from sinks.kafka.envelope import Envelope
from sinks.kafka.letter_messages import (
    TOO_LARGE,
    Put,
    note_message,
    opened,
    put_message,
    read_message,
)
from sinks.kafka.producer import KafkaProducer
from sinks.kafka.reader import TopicReader, headers_of
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import dead_letters

AT_ONCE = 10_000
LEAVING = 1.0
_MOMENT = 0.2
_SCHEMA = """
CREATE TABLE dead_letters (
    sequence INTEGER PRIMARY KEY, topic, partition, position, store, version, log_time, kind,
    stage, code, path, expected, event_id, event_kind, sealed, retries INTEGER NOT NULL DEFAULT 0,
    resolved, UNIQUE (topic, partition, position, store)
);
CREATE INDEX dead_letters_open ON dead_letters (code, sequence) WHERE resolved IS NULL;
CREATE TABLE dead_letter_outcomes (seq INTEGER PRIMARY KEY, letter, resolution, outcome);
CREATE INDEX dead_letter_outcomes_letter ON dead_letter_outcomes (letter, seq);
"""

_log = structlog.get_logger("kafka")


class KafkaDeadLetters:
    """:class:`schemas.queues.DeadLetters` in ``<topic>-dlq``. Safe for several threads.

    What a letter is follows from all its messages, so each call that reads first takes in what has
    come since, into an index that stands in a temporary file of this process and holds no payload.

    ``sequence`` names the message that a letter began with, the same for every reader: its offset
    times 10,000, plus 1,000 for each input topic from the first on, plus its partition. So letters
    of one partition are in the order they came, and those of several roughly.

    Sealed with ``key`` (32 bytes); None (``[dlq] plaintext``) leaves payloads as they came. One too
    large for a message stays in the input topic only: its letter opens as one without an original.
    """

    def __init__(self, settings: KafkaSettings, producer: KafkaProducer, key: bytes | None) -> None:
        self._producer = producer
        self._envelope = Envelope(key)
        self._lock = threading.Lock()
        self._topics = [dead_letters(topic) for topic in TOPICS]
        self._reader = TopicReader(settings, self._topics)
        self._index: sqlite3.Connection | None = None
        self._read_at = self._put_at = 0.0

    def put(self, letters: Sequence[Rejected | Refused], /) -> None:
        """See :meth:`schemas.queues.DeadLetters.put`."""
        messages = [put_message(entry(letter), self._envelope) for letter in letters]
        for message in messages:
            if ("x-payload", TOO_LARGE.encode()) in message.headers:
                _log.warning("letter_without_payload", key=message.key.decode(), code=TOO_LARGE)
        self._producer.send(messages)
        self._put_at = time.monotonic()

    def list(
        self,
        *,
        code: str | None = None,
        stage: str | None = None,
        topic: str | None = None,
        resolved: bool | None = False,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[DeadLetter]:
        """See :meth:`schemas.queues.DeadLetters.list`."""
        filters = {"code": code, "stage": stage, "topic": topic}
        with self._lock:
            return table.select(self._current(), filters, resolved, after, limit)

    def get(self, sequence: int, /) -> DeadLetter | None:
        """The letter of this sequence."""
        with self._lock:
            return table.get(self._current(), sequence)

    def find(self, origin: Origin, store: Store | None = None, /) -> DeadLetter | None:
        """The letter of these coordinates (the log timestamp does not count). What others put in
        the last moment may be missing: a reader of the log asks for thousands."""
        with self._lock:
            return table.find(self._current(_MOMENT), origin, store or "")

    def open(self, sequence: int, /) -> Original | Refused | None:
        """See :meth:`schemas.queues.DeadLetters.open`."""
        with self._lock:
            index = self._current()
            letter, place = table.get(index, sequence), table.sealed(index, sequence)
            if letter is None or place is None:
                return None
            message = self._reader.at(*self._place(place))
        if message is None:
            return None
        return opened(letter, headers_of(message), message.value() or b"", self._envelope)

    def retried(self, sequence: int, code: str, /) -> None:
        """Counts a retry that was rejected again, with its code."""
        self._note(sequence, code, resolution=False)

    def resolve(self, sequence: int, outcome: str, /) -> None:
        """Closes a letter (``written``, ``duplicate``, ``discarded``, …)."""
        self._note(sequence, outcome, resolution=True)

    def outcomes(self, sequence: int, /) -> Sequence[tuple[bool, str]]:
        """What became of it, oldest first: (is a resolution, code or outcome)."""
        with self._lock:
            return table.outcomes(self._current(), sequence)

    def counts(self, *, resolved: bool = False) -> Mapping[str, int]:
        """How many letters are open (or resolved), by code."""
        with self._lock:
            return table.counts(self._current(), resolved)

    def count(self, *, resolved: bool = False) -> int:
        """How many letters are open (or resolved)."""
        return sum(self.counts(resolved=resolved).values())

    def at_most(self) -> int:
        """How many letters are open. Messages that were not read yet count as one each where there
        are more than :data:`AT_ONCE`: who looks now and then does not read millions for it."""
        with self._lock:
            unread = self._reader.unread()
            index = self._current() if unread <= AT_ONCE else self._index
            known = 0 if index is None else sum(table.counts(index, False).values())
        return known if unread <= AT_ONCE else known + unread

    def close(self) -> None:
        """Ends the reading, but for one that brokers hold up; the producer has other users."""
        if not self._lock.acquire(timeout=LEAVING):
            return
        try:
            self._reader.close()
            if self._index is not None:
                self._index.close()
                self._index = None
        finally:
            self._lock.release()

    def _note(self, sequence: int, outcome: str, *, resolution: bool) -> None:
        letter = self.get(sequence)
        if letter is not None:
            self._producer.send([note_message(letter, outcome, resolution=resolution)])
            self._put_at = time.monotonic()

    def _current(self, age: float = 0.0) -> sqlite3.Connection:
        """The index of everything that stands in the twins now, or stood there ``age`` seconds ago
        and was put by this process since."""
        now = time.monotonic()
        if self._index is not None and self._put_at < self._read_at and now - self._read_at < age:
            return self._index
        if self._index is None:
            self._index = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            self._index.executescript("PRAGMA journal_mode = OFF; PRAGMA cache_size = -8192;")
            self._index.executescript(_SCHEMA)
        for partition, message in self._reader.read():
            said = read_message(headers_of(message))
            if isinstance(said, Put):
                sequence = self._sequence(partition, message.offset() or 0)
                place = sequence if said.payload else None
                table.put(self._index, [table.row(said.entry, place, sequence)])
            elif said is not None:
                table.note(self._index, said.sequence, said.outcome, resolution=said.resolution)
        self._read_at = now
        return self._index

    def _sequence(self, partition: Partition, offset: int) -> int:
        topic = self._topics.index(partition.topic) + 1
        return 10_000 * offset + 1_000 * topic + partition.number

    def _place(self, sequence: int) -> tuple[Partition, int]:
        offset, rest = divmod(sequence, 10_000)
        topic, number = divmod(rest, 1_000)
        return Partition(self._topics[topic - 1], number), offset
