"""The protocols of the queues: what was rejected, what a store owes, what an event still lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.failures import Rejected
from schemas.items import Lack as Lack
from schemas.items import Request as Request
from schemas.log import Origin, Original
from schemas.records import Record, RecordId, Store


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter as it is listed: no payload. ``sequence`` orders them; ``kind`` is ``event``
    (original bytes, sealed) or ``record`` (a screened record that ``store`` refused)."""

    sequence: int
    kind: str
    stage: str
    code: str
    path: str
    expected: str
    origin: Origin
    event_id: str | None = None
    store: str | None = None
    retries: int = 0
    resolved: str | None = None
    event_kind: str | None = None


class Refused(msgspec.Struct, frozen=True):
    """A record that a store will never take."""

    store: Store
    record: Record
    code: str


class DeadLetters(Protocol):
    """The dead-letter queue. Keyed by coordinates (and store): putting one again changes nothing
    but its code. Each call raises Unavailable."""

    def put(self, letters: Sequence[Rejected | Refused], /) -> None:
        """Durable when it returns."""
        ...

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
        """Up to ``limit`` letters behind sequence ``after`` that meet every filter given, in order.
        ``resolved`` None: open and resolved ones."""
        ...

    def get(self, sequence: int, /) -> DeadLetter | None:
        """The letter of this sequence."""
        ...

    def find(self, origin: Origin, store: Store | None = None, /) -> DeadLetter | None:
        """The letter of these coordinates (the log timestamp does not count)."""
        ...

    def open(self, sequence: int, /) -> Original | Refused | None:
        """What is sealed in it: the bytes as they came, or the refused record; None where there is
        no such letter or it came without an original. Raises :class:`sinks.seal.Tampered`."""
        ...

    def retried(self, sequence: int, code: str, /) -> None:
        """Counts a retry that was rejected again, with its code."""
        ...

    def resolve(self, sequence: int, outcome: str, /) -> None:
        """Closes a letter (``written``, ``duplicate``, ``discarded``, …)."""
        ...

    def outcomes(self, sequence: int, /) -> Sequence[tuple[bool, str]]:
        """What became of it, oldest first: (is a resolution, code or outcome)."""
        ...

    def counts(self, *, resolved: bool = False) -> Mapping[str, int]:
        """How many letters are open (or resolved), by code."""
        ...

    def count(self, *, resolved: bool = False) -> int:
        """How many letters are open (or resolved)."""
        ...

    def at_most(self) -> int:
        """How many letters are open; more than there are where that spares reading very much."""
        ...


class Parked(msgspec.Struct, frozen=True):
    sequence: int
    store: Store
    record: Record
    code: str
    attempts: int


class Parking(Protocol):
    """The reconciliation queues, one per store."""

    @property
    def outages(self) -> frozenset[str]:
        """Codes of a store's failures that say that these queues are out of order as well: they
        share a file. What failed so is no fault of the store's, and waits for the file."""
        ...

    def park(self, store: Store, records: Sequence[tuple[Record, str]], /) -> None:
        """Durable when it returns. Each record with the code of what failed. Raises Unavailable."""
        ...

    def backlog(self) -> Mapping[Store, int]: ...


class ParkingQueue(Parking, Protocol):
    """The reconciliation queues as their readers see them: one thread for each store. Each call
    raises Unavailable."""

    def take(self, store: Store, limit: int, /, after: int = 0) -> Sequence[Parked]:
        """Up to ``limit`` of the oldest behind sequence ``after``, left in the queue."""
        ...

    def settle(self, done: Sequence[Parked], /) -> None:
        """Removes what is written, or is a dead letter. What replaced one of them meanwhile stays,
        and a crash may bring back what was settled last."""
        ...

    def failed(self, tried: Sequence[tuple[Parked, str]], /) -> None:
        """Counts an attempt that failed again, with its code."""
        ...

    def waiting(self, store: Store, /) -> Iterator[tuple[RecordId, int]]:
        """What waits, with its version, without taking it: for anybody, beside the readers. One may
        be answered more than once."""
        ...

    def caught_up(self, store: Store, /) -> bool:
        """False while more may come of :meth:`take`, although it has just answered nothing."""
        ...

    def release(self, store: Store, /) -> None:
        """Lets other processes read the queue."""
        ...


class Queued(msgspec.Struct, frozen=True):
    """A request in its queue. ``sequence`` orders them; ``attempts`` failed so far."""

    sequence: int
    request: Request
    attempts: int = 0


class Requests(Protocol):
    """The enrichment queue. Of an event the request that knows most of its prompt is enough, and of
    equal ones the latest."""

    def put(self, requests: Sequence[Request], /) -> None:
        """Durable when it returns. Raises Unavailable."""
        ...

    def backlog(self) -> int:
        """How many wait."""
        ...


class RequestQueue(Requests, Protocol):
    """The enrichment queue as a reader sees it, from one thread. Each call raises Unavailable."""

    def take(self, limit: int, /, after: int = 0) -> Sequence[Queued]:
        """Up to ``limit`` of the oldest behind sequence ``after``, left in the queue."""
        ...

    def settle(self, done: Sequence[Queued], /) -> None:
        """Removes what is written everywhere. Durable when it returns. What replaced one of them
        meanwhile stays."""
        ...

    def failed(self, tried: Sequence[Queued], /) -> None:
        """Counts an attempt that left something lacking."""
        ...

    def waiting(self) -> Iterator[RecordId]:
        """The events that wait, without taking them: for anybody, beside the reader. One may be
        answered more than once."""
        ...

    def caught_up(self) -> bool:
        """False while more may come of :meth:`take`, although it has just answered nothing."""
        ...

    def release(self) -> None:
        """Lets other processes read the queue."""
        ...
