"""Each store, the state and the queues by the name that the settings give: embedded or a server.

A server's library is imported only where the settings name it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import msgspec

from flows.keys import Keys
from flows.settings import Settings
from schemas.failures import UserError
from schemas.ports import Cache, Claims, Joins, Sink
from schemas.queues import DeadLetters, ParkingQueue, Requests
from schemas.records import Store
from sinks.sqlite.cache import SqliteCache
from sinks.sqlite.claims import SqliteClaims
from sinks.sqlite.database import Database
from sinks.sqlite.deadletters import SqliteDeadLetters
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.graph_queries import GraphQueries
from sinks.sqlite.joins import SqliteJoins
from sinks.sqlite.parking import SqliteParking
from sinks.sqlite.requests import SqliteRequests
from sinks.sqlite.search import SearchSink
from sinks.sqlite.search_queries import SearchQueries
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.timeseries_queries import UsageQueries
from sinks.sqlite.vector import VectorSink
from sinks.sqlite.vector_queries import VectorQueries


class Server(Protocol):
    """The housekeeping of a store that is a server of its own."""

    def init(self) -> Sequence[str]:
        """Makes what is missing; says what it made, a line each. Idempotent. Raises Unavailable."""
        ...

    def check(self) -> None:
        """Raises UserError naming what is missing, and Unavailable when it does not answer."""
        ...

    def size(self) -> int | None:
        """Bytes on disk, where the server tells."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Repairs(Protocol):
    """A server whose content may need mending."""

    def repair(self) -> Sequence[str]:
        """Mends what was found to be wrong; says what, a line each. Raises Unavailable."""
        ...


class Kept(msgspec.Struct, frozen=True):
    """A store as it was opened; ``server`` is None for one in the SQLite file."""

    sink: Sink[Any]
    queries: Any
    server: Server | None = None


class State(msgspec.Struct, frozen=True):
    """What the stages keep between events."""

    claims: Claims
    joins: Joins
    vectors: Cache
    server: Server | None = None


class Queues(msgspec.Struct, frozen=True):
    """Where what cannot go on now is kept."""

    letters: DeadLetters
    parking: ParkingQueue
    requests: Requests
    server: Server | None = None


class Folder:
    """The one SQLite file of a data folder, opened when it is first asked for."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._path = settings.database_path
        self._stack = stack
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """Raises Damaged and Unavailable."""
        if self._database is None:
            self._database = Database.open(self._path)
            self._stack.callback(self._database.close)
        return self._database

    @property
    def opened(self) -> Database | None:
        """The file, if anything asked for it so far."""
        return self._database


_SQLITE: dict[Store, Callable[[Database, Settings], tuple[Sink[Any], Any]]] = {
    "graph": lambda d, s: (GraphSink(d, s.stores.graph), GraphQueries(d)),
    "vector": lambda d, s: (VectorSink(d, s.stores.vector), VectorQueries(d)),
    "timeseries": lambda d, s: (TimeseriesSink(d, s.stores.timeseries), UsageQueries(d)),
    "search": lambda d, s: (SearchSink(d, s.stores.search), SearchQueries(d)),
}
_SERVERS = {
    "neo4j": "Neo4jStore",
    "pinecone": "PineconeStore",
    "influxdb": "InfluxStore",
    "elasticsearch": "ElasticsearchStore",
}
"""Packages of ``sinks`` and the class in the module ``store`` of each."""


def open_store(store: Store, settings: Settings, folder: Folder, stack: ExitStack) -> Kept:
    """Opens a store; a server need not answer yet."""
    name: str = getattr(settings.backends, store)
    if name == "sqlite":
        sink, queries = _SQLITE[store](folder.database, settings)
        stack.callback(sink.close)
        return Kept(sink, queries)
    server = load(f"sinks.{name}.store", _SERVERS[name])(getattr(settings, name))
    stack.callback(server.close)
    return Kept(server.sink, server.queries, server)


def open_state(
    settings: Settings,
    folder: Folder,
    store_set: Callable[[], str],
    stack: ExitStack,
    member: int | None = None,
) -> State:
    """Claims, joins and the cache of vectors; ``store_set`` is asked with the first claim.
    ``member``: the number of the worker in a supervised group."""
    topic_id = _topic_ids(settings)
    if settings.backends.state == "redis":
        server = load("sinks.redis.state", "RedisState")(
            settings.redis, store_set, topic_id=topic_id, member=_name(settings, member)
        )
        stack.callback(server.close)
        return State(server.claims, server.joins, server.vectors, server)
    database = folder.database
    claims = SqliteClaims(database, topic_id=topic_id)
    return State(claims, SqliteJoins(database), SqliteCache(database, "vectors"))


def _name(settings: Settings, member: int | None) -> str:
    """A worker's own, the same after a restart: one data folder has one worker, or one of each
    number."""
    name = f"{platform.node()}:{settings.data.resolve()}"
    return name if member is None else f"{name}#{member}"


def _topic_ids(settings: Settings) -> Callable[[str], str]:
    """What tells a topic from another one that is made under its name, and counts its offsets from
    0 again. Raises Unavailable. A log in files that begins again is refused by itself."""
    if settings.backends.log != "kafka":
        return str
    ask = load("sinks.kafka.topics", "topic_id")
    return cache(lambda topic: ask(settings.kafka, topic))


def open_queues(settings: Settings, keys: Keys, folder: Folder, stack: ExitStack) -> Queues:
    """Dead letters, the records that a store owes, and the events that lack something."""
    if settings.backends.queues == "kafka":
        queues = load("sinks.kafka.queues", "KafkaQueues")(
            settings.kafka.queues, None if settings.dlq.plaintext else keys.dead_letters
        )
        stack.callback(queues.close)
        return Queues(queues.letters, queues.parking, queues.requests, queues)
    database = folder.database
    return Queues(
        SqliteDeadLetters(database, keys.dead_letters),
        SqliteParking(database),
        SqliteRequests(database),
    )


def load(module: str, name: str) -> Any:
    """Something of a package whose library is an extra. Raises UserError where it is missing."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("flows", "stages", "sinks", "schemas"):
            raise
        raise UserError(
            f"The settings name {module.split('.')[1]}, and the package {error.name} is not "
            "installed. Install it with: pip install 'llm-memory-graph[production]'"
        ) from None
