"""The protocols between the packages: stages and sinks implement them, flows puts them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from schemas.items import Embedded, ModelFacts, PromptSide, UserFacts
from schemas.log import Origin
from schemas.records import Record, RecordId, Stamp, Store

R_contra = TypeVar("R_contra", bound=Record, contravariant=True)


class Unavailable(Exception):
    """A store or service cannot be reached now. The message is ours and carries no data.

    ``retry_after``: it asked not to be called again for so many seconds."""

    def __init__(self, what: str, code: str, retry_after: float | None = None) -> None:
        super().__init__(f"{what} is unavailable ({code})")
        self.what = what
        self.code = code
        self.retry_after = retry_after


class Damaged(Exception):
    """A store's file is beyond use (corrupt, not a database, newer than we are). No retry helps."""


Status = Literal["written", "erased", "rejected", "unavailable"]


class Result(msgspec.Struct, frozen=True):
    """What became of one record. ``rejected``: never will pass; ``unavailable``: may pass later.

    ``erased``: a tombstone stands for this id, the write was dropped on purpose. ``retry_after``:
    an unavailable store asked not to be called again for so many seconds.
    """

    status: Status
    code: str = ""
    retry_after: float | None = None


WRITTEN = Result("written")
ERASED = Result("erased")


class Stored(msgspec.Struct, frozen=True):
    """What a store holds of a record: its stamp and the record's content as JSON-able data."""

    stamp: Stamp
    content: dict[str, object]


class Sink(Protocol[R_contra]):
    """A store. Safe to call from several threads; results in the order of the records."""

    @property
    def store(self) -> Store: ...

    def write(self, records: Sequence[R_contra], /) -> Sequence[Result]:
        """Durable when it returns. One bad record never fails the others. Idempotent."""
        ...

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        """What is there; ids that are not there are absent from the answer."""
        ...

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        """Removes and leaves a tombstone: later writes of the id answer ``erased``."""
        ...

    def count(self) -> int:
        """How many records it holds."""
        ...

    def close(self) -> None: ...


class Tombstones(Protocol):
    """What a sink knows of what was erased; every store has it beside :class:`Sink`."""

    def erased(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """Those of ``ids`` for which a tombstone stands. Raises Unavailable."""
        ...


class Claim(msgspec.Struct, frozen=True):
    """``content`` is a keyed hash of the event: it tells equal from different, and nothing else."""

    id: RecordId
    origin: Origin
    content: bytes


Verdict = Literal["new", "replay", "duplicate", "conflict"]


class Claims(Protocol):
    """Who delivered an event id first, for ``ttl`` milliseconds of log time."""

    def claim(self, claims: Sequence[Claim], /) -> Sequence[Verdict]:
        """In order. ``new``: claimed now; ``replay``: the claim has these very coordinates;
        ``duplicate``: same id and content elsewhere; ``conflict``: same id, other content.
        A claim whose log timestamp is further than the TTL away is replaced. Raises Unavailable."""
        ...

    def release(self, held: Sequence[tuple[RecordId, Origin]], /) -> None:
        """Forgets claims, each only if it is held by these coordinates."""
        ...

    def flush(self) -> None:
        """Waits until everything so far is committed. Raises Unavailable where something since the
        last flush was lost: the log has to be read again."""
        ...


class Waiting(msgspec.Struct, frozen=True):
    """A response in the join store. ``orphan``: the fact that its prompt did not come in time."""

    response: Embedded
    log_time: int
    orphan: bool = False


class Joins(Protocol):
    """Keyed, grow-only rows of facts where responses and prompts meet. Raises Unavailable.

    Each call adds first and reads afterwards, so that of two that meet at least one sees the other.
    """

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        """Adds prompt sides with their log times; answers the responses waiting, by prompt id."""
        ...

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        """Adds responses; answers, by response id, the prompt side if known, and the orphan fact.
        An implementation may skip storing a response whose prompt side it returns."""
        ...

    def overdue(self, before: int, limit: int, /) -> Sequence[Waiting]:
        """Records the orphan fact for up to ``limit`` responses whose prompt has not come and whose
        log time lies before ``before`` (ms), and answers them, oldest first."""
        ...

    def unheard(self) -> None:
        """What the last call of :meth:`overdue` answered has not gone on: it is answered again,
        and not confirmed before. Does not wait."""
        ...

    def expire(self, before: int, /) -> None:
        """Drops rows whose log time lies before ``before``: the table's bound."""
        ...

    def seal(self) -> int:
        """A mark of what :meth:`overdue` answered so far, to be confirmed when it is written."""
        ...

    def confirm(self, mark: int, /) -> None:
        """What followed from the orphans answered up to ``mark`` is written. Until then, the next
        run answers them again: the orphan fact outlives a crash. Does not wait."""
        ...

    def flush(self) -> None:
        """As :meth:`Claims.flush`."""
        ...


class Cache(Protocol):
    """A bounded cache. Losing an entry costs time, never correctness; errors are misses."""

    def get(self, keys: Sequence[bytes], /) -> Sequence[bytes | None]: ...

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None: ...


class Tier(msgspec.Struct, frozen=True):
    """Prices of all tokens of a request whose prompt has more than ``above`` tokens."""

    above: int
    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


class Price(msgspec.Struct, frozen=True):
    """Prices of one model in 10⁻¹² USD a token, valid from a date (ISO), with their source.

    None: the source gives no such price. ``tiers`` are in ascending order of ``above``.
    """

    version: str
    valid_from: str
    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    tiers: tuple[Tier, ...] = ()


class ModelEntry(msgspec.Struct, frozen=True):
    facts: ModelFacts
    price: Price | None


class Registry(Protocol):
    def lookup(
        self, models: Sequence[tuple[str, str | None, int]], /
    ) -> Sequence[ModelEntry | None]:
        """For (model id, provider, event time in µs): the entry with the price valid then, or None
        when no such model is known. Raises Unavailable."""
        ...


class Directory(Protocol):
    def lookup(self, users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
        """For (user id as screened, event time in µs): tenant and organisation then."""
        ...


class Embedder(Protocol):
    """``model`` names weights and preprocessing; vectors of different models never mix."""

    model: str
    dimensions: int

    def embed(self, texts: Sequence[str], /) -> Sequence[bytes]:
        """Unit vectors as little-endian float32. A vector is a function of its text alone."""
        ...
