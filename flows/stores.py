"""Opens the stores that the settings name, and what the worker keeps for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from flows.backends import Folder, Kept, Queues, Server, State, open_queues, open_state, open_store
from flows.filelog import Position
from flows.filelog.source import Positions
from flows.keys import Keys, load_keys
from flows.settings import Settings
from flows.views.stores import Views
from schemas.ports import Cache, Claims, Joins, Sink
from schemas.queues import DeadLetters, ParkingQueue, Requests
from schemas.records import STORES, Mutation, Record, Store
from sinks.sqlite import offsets as sqlite_offsets
from sinks.sqlite.offsets import SqliteOffsets

SELECT: dict[Store, Callable[[Mutation], Record | None]] = {
    "graph": lambda m: m.graph,
    "vector": lambda m: m.vector,
    "timeseries": lambda m: m.point,
    "search": lambda m: m.document,
}
"""Which part of a mutation each store gets."""


class FileOffsets:
    """:class:`flows.filelog.source.Offsets` in the one SQLite file."""

    def __init__(self, offsets: SqliteOffsets) -> None:
        self._offsets = offsets

    def load(self) -> Positions:
        return {p: Position(*position) for p, position in self._offsets.load().items()}

    def commit(self, positions: Positions) -> Future[None]:
        return self._offsets.commit(
            {
                p: sqlite_offsets.Position(x.offset, x.base, x.byte, x.mark, x.log_time)
                for p, x in positions.items()
            }
        )


class Stores(msgspec.Struct, frozen=True):
    """Everything that is kept, wherever it is. ``offsets`` is None where Kafka keeps them;
    ``servers`` are those of the four stores that are servers."""

    sinks: dict[Store, Sink[Any]]
    views: Views
    claims: Claims
    joins: Joins
    vectors: Cache
    letters: DeadLetters
    parking: ParkingQueue
    requests: Requests
    offsets: FileOffsets | None
    servers: Mapping[str, Server]
    folder: Folder
    store_set: Callable[[], str]

    def check(self) -> None:
        """Raises UserError where a server was not made ready for this, and Unavailable. Embedded
        stores are made ready when they are opened. Afterwards the id of the store set is known, and
        claims and joins work while the graph is down."""
        for server in self.servers.values():
            server.check()
        self.store_set()

    def sizes(self) -> dict[str, int]:
        """Bytes on disk, by name of the backend, of those that tell. Raises Unavailable."""
        found: dict[str, int] = {}
        if self.folder.opened is not None:
            found["sqlite"] = file_size(self.folder.opened.path)
        for name, server in self.servers.items():
            size = server.size()
            if size is not None:
                found[name] = size
        return found


@contextmanager
def open_stores(settings: Settings, keys: Keys, member: int | None = None) -> Iterator[Stores]:
    """Opens what the settings name, making the file of the embedded ones where it is missing.
    ``member``: the number of the worker in a supervised group.

    A server need not answer yet. Raises Damaged and Unavailable for the file, and UserError.
    """
    with ExitStack() as stack:
        folder = Folder(settings, stack)
        kept = {store: open_store(store, settings, folder, stack) for store in STORES}
        minted = cache(lambda: store_set(kept["graph"], folder))
        state = open_state(settings, folder, minted, stack, member)
        queues = open_queues(settings, keys, folder, stack)
        files = settings.backends.log == "files"
        yield Stores(
            sinks={store: one.sink for store, one in kept.items()},
            views=_views(kept, folder),
            claims=state.claims,
            joins=state.joins,
            vectors=state.vectors,
            letters=queues.letters,
            parking=queues.parking,
            requests=queues.requests,
            offsets=FileOffsets(SqliteOffsets(folder.database)) if files else None,
            servers=_servers(settings, kept, state, queues),
            folder=folder,
            store_set=minted,
        )


@contextmanager
def opened_views(settings: Settings) -> Iterator[Views]:
    """The query side alone, for a command that only looks something up."""
    with ExitStack() as stack:
        folder = Folder(settings, stack)
        kept = {store: open_store(store, settings, folder, stack) for store in STORES}
        yield _views(kept, folder)


@contextmanager
def opened_servers(settings: Settings) -> Iterator[Mapping[str, Server]]:
    """The stores that are servers, by the name of the backend; nothing embedded is opened."""
    with ExitStack() as stack:
        folder = Folder(settings, stack)
        named = {getattr(settings.backends, store): store for store in STORES}
        named.pop("sqlite", None)
        kept = {n: open_store(store, settings, folder, stack) for n, store in named.items()}
        servers = {n: one.server for n, one in kept.items() if one.server is not None}
        if settings.backends.state != "sqlite":
            state = open_state(settings, folder, lambda: store_set(kept["neo4j"], folder), stack)
            assert state.server is not None
            servers[settings.backends.state] = state.server
        yield servers


@contextmanager
def opened_letters(settings: Settings) -> Iterator[DeadLetters]:
    """The dead letters, with the key that opens them."""
    keys = load_keys(settings.data, create=False)
    with ExitStack() as stack:
        yield open_queues(settings, keys, Folder(settings, stack), stack).letters


def store_set(graph: Kept, folder: Folder) -> str:
    """The id that was minted when the stores were made: the graph's, or the file's."""
    if graph.server is None:
        return folder.database.store_set
    minted: str = graph.server.store_set()  # type: ignore[attr-defined]
    return minted


def file_size(path: Path) -> int:
    """Bytes of the SQLite file and its journal."""
    size = 0
    for name in (path.name, f"{path.name}-wal"):
        with suppress(FileNotFoundError):
            size += path.with_name(name).stat().st_size
    return size


def _views(kept: Mapping[Store, Kept], folder: Folder) -> Views:
    @contextmanager
    def snapshot() -> Iterator[None]:
        database = folder.opened
        if database is None:
            yield
            return
        connection = database.reader()
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    return Views(
        kept["graph"].queries,
        kept["search"].queries,
        kept["search"].sink,
        kept["timeseries"].queries,
        kept["vector"].queries,
        snapshot,
    )


def _servers(
    settings: Settings, kept: Mapping[Store, Kept], state: State, queues: Queues
) -> dict[str, Server]:
    named = {getattr(settings.backends, store): one.server for store, one in kept.items()}
    named[settings.backends.state] = state.server
    named[settings.backends.queues] = queues.server
    return {name: server for name, server in named.items() if server is not None}
