"""Real servers for tests: ``pytest_plugins = ["tests.servers.plugin"]`` (in ``tests/conftest.py``).

Shared ones, started once in a test run when the first test asks, used by all processes of
pytest-xdist, ended when the run ends::

    def test_it(kafka, redis): ...         # structs of deploy.local.addresses

``kafka`` ``neo4j`` ``elasticsearch`` ``influxdb`` ``redis`` ``pinecone`` ``registry``. What is in
them belongs to all tests: use a prefix, bucket or topic of your own. Neo4j has one database: tests
that ask for ``neo4j`` run one after the other, in one process, and find what the last left; empty
it first. Any tests with the same ``@pytest.mark.xdist_group(name)`` are kept together likewise; all
others are by module, as with ``--dist loadscope``.

Servers of one's own, to be killed, frozen and started again::

    def test_it(own_server):
        broker = own_server("kafka", settings={"group.consumer.session.timeout.ms": "1000"})
        broker.address, broker.kill(), broker.restart(), broker.pause(), broker.resume()

A proxy with faults before any of them (:mod:`tests.servers.proxy`)::

    def test_it(proxy, redis):
        between = proxy(port_of(redis.url))        # between.address, .hang(), .cut(after=100), …

    def test_it(proxied_kafka):
        broker, between = proxied_kafka            # clients of between.address go on through it

Tests that ask for one of the foreign servers get the mark ``servers`` by themselves; tests that
start one in other ways carry it in their source. ``make test`` leaves them out. ``TEST_SERVERS``
names a JSON file with addresses of running servers to use instead of starting them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from deploy.local import addresses, ports, process
from deploy.local.cache import locked
from deploy.local.server import Server
from tests.servers.proxy import Proxy

FOREIGN = ("kafka", "neo4j", "elasticsearch", "influxdb", "redis")
KINDS: dict[str, type[msgspec.Struct]] = {
    "kafka": addresses.Kafka,
    "neo4j": addresses.Neo4j,
    "elasticsearch": addresses.Elasticsearch,
    "influxdb": addresses.Influxdb,
    "redis": addresses.Redis,
    "pinecone": addresses.Pinecone,
    "registry": addresses.Registry,
}
SETTINGS: dict[str, dict[str, str]] = {
    "kafka": {
        "group.consumer.session.timeout.ms": "3000",
        "group.consumer.heartbeat.interval.ms": "500",
    }
}
"""What tests want otherwise than people: dead members of a group are missed sooner."""
EXCLUSIVE = ("neo4j",)
_PREFIX = "memory-graph-tests-"
_FOLDER = pytest.StashKey[Path]()
_INPUT = "memory_graph_servers"
_GROUPS = "groups"


class Run:
    """The servers of one test run, in a folder that all of its processes know.

    The process that leads the run ends them; were it killed, the next run does.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def address(self, kind: str) -> Any:
        """The shared server of this kind, started if it is not."""
        with locked(self.folder / f"{kind}.lock"):
            known = self.folder / f"{kind}.json"
            if known.exists():
                return Server.load(known).address
            return self._start(kind, self.folder / kind, {}).address

    def own(self, kind: str, **options: Any) -> Server:
        """A started server that nobody else uses."""
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=self.folder))
        folder.chmod(0o711)
        return self._start(kind, folder, options)

    def forget(self, server: Server) -> None:
        """Ends a server of one's own and removes what it kept."""
        server.stop()
        assert server.state is not None
        server.state.unlink(missing_ok=True)
        shutil.rmtree(server.record.folder, ignore_errors=True)

    @cached_property
    def groups(self) -> dict[str, str]:
        """Tests that have to stay in one process, by the name of their group."""
        return msgspec.json.decode((self.folder / _GROUPS).read_bytes(), type=dict[str, str])

    def keep_groups(self, groups: dict[str, str]) -> None:
        """Says so to the process that deals the tests out, before it gets the names of the tests:
        pytest gives its processes no way to say more than names."""
        fresh = self.folder / f"{_GROUPS}.{os.getpid()}"
        fresh.write_bytes(msgspec.json.encode(groups))
        fresh.rename(self.folder / _GROUPS)

    def end(self) -> None:
        """Ends every server of the run and removes the folder. Two may do so at once."""
        for known in self.folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                Server.load(known).kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, kind: str, folder: Path, options: dict[str, Any]) -> Server:
        settings = SETTINGS.get(kind, {}) | options.pop("settings", {})
        state = folder.with_suffix(".json")
        server = Server.make(kind, folder, state=state, settings=settings, **options)
        try:
            server.start()
        except BaseException:
            server.stop()
            state.unlink(missing_ok=True)
            raise
        return server


def _begin() -> Path:
    """A folder for a run that this process leads. What killed runs left is ended."""
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{_PREFIX}{os.geteuid()}-*"):
        try:
            if left.is_symlink() or left.stat().st_uid != os.geteuid():
                continue
            leader = msgspec.json.decode((left / "leader").read_bytes(), type=process.Identity)
        except (OSError, msgspec.DecodeError):
            continue  # About to be written, or being ended, by another run.
        if not process.is_alive(leader):
            Run(left).end()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.geteuid()}-", dir=base))
    folder.chmod(0o711)  # Elasticsearch may be another user.
    leader = process.identify(os.getpid())
    (folder / "leader").write_bytes(msgspec.json.encode(leader))
    return folder


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get(_INPUT)
    config.stash[_FOLDER] = Path(given) if given else _begin()
    if given:
        ports.SHARE = int(config.workerinput["workerid"].removeprefix("gw"))  # type: ignore[attr-defined]
        ports.SHARES = int(config.workerinput["workercount"])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _FOLDER in config.stash and not hasattr(config, "workerinput"):
        Run(config.stash[_FOLDER]).end()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a process of pytest-xdist where the servers of the run are."""
    node.workerinput[_INPUT] = str(node.config.stash[_FOLDER])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadscope``: by module, but groups before modules."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    run = Run(config.stash[_FOLDER])

    class GroupOrScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return run.groups.get(nodeid) or super()._split_scope(nodeid)

        def remove_node(self, node: Any) -> Any:
            # Of a process that has died, xdist deals out again what it had finished, too: units
            # with no test to run, whose end it then waits for for ever.
            done = self.assigned_work[node]
            for scope in [scope for scope, tests in done.items() if all(tests.values())]:
                del done[scope]
            return super().remove_node(node)

    return GroupOrScope(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests by the servers that they ask for, before marks select among them."""
    groups = {}
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if asked & {*FOREIGN, "own_server", "proxied_kafka"}:
            item.add_marker("servers")
        mark = item.get_closest_marker("xdist_group")
        group = mark.args[0] if mark else next((k for k in EXCLUSIVE if k in asked), None)
        if group:
            groups[item.nodeid] = group
    if hasattr(config, "workerinput"):
        Run(config.stash[_FOLDER]).keep_groups(groups)


@pytest.fixture(scope="session")
def server_run(request: pytest.FixtureRequest) -> Run:
    """The servers of this test run."""
    return Run(request.config.stash[_FOLDER])


def _shared(kind: str) -> Callable[..., Any]:
    @pytest.fixture(scope="session", name=kind)
    def found(server_run: Run) -> Any:
        given = os.environ.get("TEST_SERVERS")
        if given:
            running = msgspec.json.decode(Path(given).read_bytes())
            if kind in running:
                return msgspec.convert(running[kind], KINDS[kind])
        return server_run.address(kind)

    return found


kafka = _shared("kafka")
neo4j = _shared("neo4j")
elasticsearch = _shared("elasticsearch")
influxdb = _shared("influxdb")
redis = _shared("redis")
pinecone = _shared("pinecone")
registry = _shared("registry")


@pytest.fixture
def own_server(server_run: Run) -> Iterator[Callable[..., Server]]:
    """Starts servers that only this test uses: ``own_server(kind, **options)``; see
    :func:`deploy.local.server.serving` for the options."""
    made: list[Server] = []

    def start(kind: str, **options: Any) -> Server:
        made.append(server_run.own(kind, **options))
        return made[-1]

    yield start
    for server in made:
        server_run.forget(server)


@pytest.fixture
def proxy() -> Iterator[Callable[[int], Proxy]]:
    """Starts proxies: ``proxy(port)`` stands before the server on that loopback port."""
    made: list[Proxy] = []

    def start(target: int) -> Proxy:
        made.append(Proxy(target).__enter__())
        return made[-1]

    yield start
    for each in made:
        each.__exit__(None, None, None)


@pytest.fixture
def proxied_kafka(
    own_server: Callable[..., Server], proxy: Callable[[int], Proxy]
) -> tuple[Server, Proxy]:
    """A broker of one's own and a proxy: who begins at ``proxy.address`` is told to go on there;
    who begins at ``server.address.bootstrap`` goes round it."""
    between = proxy(0)
    server = own_server("kafka", advertised=between.port)
    between.target = server.ports["proxied"]
    return server, between


def port_of(address: str) -> int:
    """The port of a URL or of ``host:port``."""
    port = urlsplit(address if "//" in address else f"//{address}").port
    assert port is not None, f"{address} names no port"
    return port
