"""What the stores receive: one record per store and event, built purely, sent separately.

Every record carries a :class:`Stamp`. Writes are keyed by (kind, id) and independent of order: a
record of a lower version never replaces one of a higher version, and properties of shared nodes
are registers.

No record can hold a cycle, so all stay out of the garbage collector (``gc=False``): tracking them
cost a fifth of the stage that makes them.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import msgspec

from schemas.items import Kind, Request, Screened, ScreenedEvent
from schemas.log import Origin

Store = Literal["graph", "vector", "timeseries", "search"]
STORES: tuple[Store, ...] = ("graph", "vector", "timeseries", "search")

Value = None | bool | int | float | str | tuple[str, ...]


class RecordId(msgspec.Struct, frozen=True, gc=False, order=True):
    """Identity everywhere: a response that reuses its prompt's id is another record."""

    kind: Kind
    id: str


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """What every record in every store knows of itself.

    ``version`` counts the facts known when it was made; ``sha256`` is of the screened record
    without origin, version and pipeline; ``time`` is the event's own, in µs since 1970.
    """

    kind: Kind
    id: str
    version: int
    time: int
    origin: Origin
    pipeline: str
    tenant: str | None
    user: str | None
    sha256: str

    @property
    def record_id(self) -> RecordId:
        return RecordId(self.kind, self.id)


class Register(msgspec.Struct, frozen=True, gc=False):
    """A property of a shared node, won by the greatest (or, ``min``, the least) value of ``at``.

    For ``latest``, ``at`` is (event time, event id) as a string that sorts like the pair. For
    ``min`` and ``max`` the value itself decides and ``at`` is empty.
    """

    name: str
    value: Value
    mode: Literal["latest", "min", "max"] = "latest"
    at: str = ""


class NodeWrite(msgspec.Struct, frozen=True, gc=False):
    """A node to merge. Owned (``properties`` given): replaced as a whole by a version not lower.

    Shared (``properties`` None): made if missing, its registers merged. Without registers it is a
    placeholder for an end that may not have come yet.
    """

    label: str
    key: str
    properties: dict[str, Value] | None = None
    registers: tuple[Register, ...] = ()


class EdgeWrite(msgspec.Struct, frozen=True, gc=False):
    """An edge to merge; both ends exist afterwards, as placeholders at least.

    Owned edges start at the record's own node and are replaced with it (those a new version does
    not name go away); shared ones only ever come.
    """

    type: str
    source: tuple[str, str]
    target: tuple[str, str]
    properties: dict[str, Value] = {}
    owned: bool = False


class GraphRecord(msgspec.Struct, frozen=True, gc=False):
    stamp: Stamp
    nodes: tuple[NodeWrite, ...]
    edges: tuple[EdgeWrite, ...]


class VectorRecord(msgspec.Struct, frozen=True, gc=False):
    """``values``: little-endian float32, unit length. Vectors of different models never mix."""

    stamp: Stamp
    values: bytes
    model: str
    text_hash: str
    metadata: dict[str, Value]


class PointRecord(msgspec.Struct, frozen=True, gc=False):
    """One time-series point. Below the millisecond, ``time_ns`` holds digits of the event id."""

    stamp: Stamp
    time_ns: int
    tags: dict[str, str]
    fields: dict[str, int | float | str | bool]


class DocumentRecord(msgspec.Struct, frozen=True, gc=False):
    """One search document: the full text analysed, the rest to filter by and to show."""

    stamp: Stamp
    text: Screened
    fields: dict[str, Value]


Record = GraphRecord | VectorRecord | PointRecord | DocumentRecord


class Mutation(msgspec.Struct, frozen=True, gc=False):
    """All that one event (or a later completion of it) writes. None: that store gets nothing.

    ``request``: something is lacking that the enrichment fills in later.
    """

    event: ScreenedEvent
    state: str
    graph: GraphRecord
    document: DocumentRecord
    vector: VectorRecord | None = None
    point: PointRecord | None = None
    request: Request | None = None


def compose(*parts: str | None) -> str:
    """A key of several parts, injective and readable: parts are percent-encoded, joined by ``/``.

    An absent or empty part is ``_``; a part that is ``_`` itself is ``%5F``.

    >>> compose("acme", "a/b"), compose(None, "gpt-4o"), compose("_")
    ('acme/a%2Fb', '_/gpt-4o', '%5F')
    """
    return "/".join([_PARTS.get(p) or quote(p or "", safe=" :@+,.~-_=") for p in parts])


_PARTS: dict[str | None, str] = {None: "_", "": "_", "_": "%5F"}


def register_stamp(time: int, event_id: str) -> str:
    """(event time in µs, event id) as a string that sorts like the pair, also before 1970."""
    return f"{time + (1 << 62):020d}/{event_id}"
