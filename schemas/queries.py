"""Looking things up: what the query side of each store answers, embedded or not.

Every call may raise :class:`schemas.ports.Unavailable`. All are safe from any thread. Event times
are µs since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from schemas.items import Kind
from schemas.records import RecordId, Stamp

Direction = Literal["out", "in", "both"]
Scalar = str | int | float | bool
Name = tuple[str, str]
"""Label and key of a node."""

Dimension = Literal["tenant", "model", "user", "day", "provider", "purpose", "status"]


class Node(msgspec.Struct, frozen=True):
    """``properties``: those of the owning record and the registers together.

    ``owner`` is None for shared nodes; a ``placeholder`` is an end of an edge of which no record
    has told anything yet.
    """

    label: str
    key: str
    properties: dict[str, Any]
    owner: RecordId | None = None
    placeholder: bool = False


class Edge(msgspec.Struct, frozen=True):
    type: str
    source: Name
    target: Name
    properties: dict[str, Any]
    owned: bool = False


class GraphQueries(Protocol):
    """The graph store: nodes by label and key, their edges, the records they came from."""

    def node(self, label: str, key: str) -> Node | None:
        """One node, or None."""
        ...

    def edges(
        self, label: str, key: str, *, direction: Direction = "both", types: Sequence[str] = ()
    ) -> list[Edge]:
        """The edges of a node, sorted by type, source and target; a loop comes once."""
        ...

    def find(self, label: str, properties: Mapping[str, Scalar], *, limit: int = -1) -> list[Node]:
        """The nodes of a label whose properties have these values, by key; -1: all of them."""
        ...

    def count(self, label: str, properties: Mapping[str, Scalar]) -> int:
        """How many nodes :meth:`find` would answer."""
        ...

    def nodes(self) -> Iterator[Node]:
        """All nodes, sorted by label and key, streamed."""
        ...

    def all_edges(self) -> Iterator[Edge]:
        """All edges, sorted by type, source and target, streamed."""
        ...

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Nodes by label and edges by type."""
        ...

    def records(self, *, tenant: str | None = None) -> Iterator[Stamp]:
        """The stamps of all records in the order (event time, event id), streamed."""
        ...

    def owners(self, nodes: Sequence[Name]) -> dict[Name, Stamp]:
        """The stamps of the records that own these nodes."""
        ...


class Hit(msgspec.Struct, frozen=True):
    """A document that was found. ``score``: bm25, greater is better, 0 where only literal words
    were asked for. ``snippet``: the best part of the text, or all of it, with what matched marked.
    """

    id: RecordId
    score: float
    time: int
    tenant: str | None
    user: str | None
    session: str | None
    model: str | None
    snippet: str
    fields: dict[str, Any]


class SearchQueries(Protocol):
    """The full-text store."""

    def search(
        self,
        words: str,
        limit: int = 10,
        *,
        offset: int = 0,
        tenant: str | None = None,
        model: str | None = None,
        session: str | None = None,
        user: str | None = None,
        kind: Kind | None = None,
        since: int | None = None,
        until: int | None = None,
        marks: tuple[str, str] = ("[", "]"),
        whole: bool = False,
        snippet_tokens: int = 24,
    ) -> list[Hit]:
        """The best hits first, equals newest first; never an error for what was typed.

        All words must be there; ``"words in quotes"`` stand together, ``word*`` is a prefix.
        ``since`` is inclusive, ``until`` exclusive. ``whole``: the snippet is the whole text.
        """
        ...


class Usage(msgspec.Struct, frozen=True):
    """One group. ``key`` has a value for each asked dimension, in that order (``day`` in ISO).

    Tokens, money and latency are those of responses, as billed; prompts only count. Money is an
    exact sum in 10⁻¹² USD of the priced responses; ``lacking`` are those whose price the registry
    still owes. A percentile is the nearest rank: the least
    latency that so many in a hundred do not exceed; None where nothing was measured.
    """

    key: tuple[str | None, ...]
    prompts: int
    responses: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_pico_usd: int
    priced: int
    unpriced: int
    inconsistent: int
    lacking: int
    errors: int
    orphans: int
    latency_p50_ms: int | None
    latency_p95_ms: int | None
    ttft_p50_ms: int | None
    ttft_p95_ms: int | None


class UsageQueries(Protocol):
    """The time-series store: rollups of tokens, money and latency."""

    def usage(
        self,
        by: Sequence[Dimension] = (),
        *,
        tenant: str | None = None,
        model: str | None = None,
        user: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Usage]:
        """One row per group, sorted by its key; without dimensions one row for everything."""
        ...


class Neighbour(msgspec.Struct, frozen=True):
    """A stored text near the asked one; ``score`` is the cosine of the two vectors."""

    id: RecordId
    score: float
    time: int
    tenant: str | None
    user: str | None
    text_hash: str
    metadata: dict[str, Any]


class VectorQueries(Protocol):
    """The vector store."""

    def vector(self, record: RecordId) -> tuple[bytes, str] | None:
        """The vector of a record (little-endian float32) and the model that made it, or None."""
        ...

    def models(self) -> dict[str, int]:
        """How many vectors there are of each model."""
        ...

    def similar(
        self,
        vector: bytes,
        k: int = 10,
        *,
        model: str,
        tenant: str | None = None,
        kind: Kind | None = None,
        exclude: RecordId | None = None,
    ) -> list[Neighbour]:
        """The ``k`` nearest by cosine, best first, equals by (kind, id).

        ``vector``: unit length, little-endian float32, made by ``model``; vectors of other models
        or lengths are never compared with it.
        """
        ...
