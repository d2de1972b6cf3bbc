"""A server is up when it answers, and says why when it does not come up."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import ports, server
from deploy.local.addresses import Redis
from deploy.local.failures import StartFailed
from deploy.local.kinds import KINDS
from deploy.local.kinds.base import Launch, Place, plain_environment
from deploy.local.ports import HOST, free_ports
from deploy.local.server import Server

LATE = """\
import os, socket, sys, time
print("waiting for the word", flush=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        connection, _ = listener.accept()
        if os.path.exists("word"):
            connection.sendall(b"yes")
        connection.close()
"""


class Late:
    """Listens at once, and answers only when there is a file ``word`` in its folder."""

    name = "late"
    ports: tuple[str, ...] = ("port",)
    secrets: tuple[str, ...] = ("word",)
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ()
    script = LATE

    def fetch_needs(self) -> tuple[str, ...]:
        return ()

    def fetch(self) -> None: ...

    def prepare(self, place: Place) -> Launch:
        argv = (sys.executable, "-c", self.script, str(place.ports["port"]))
        return Launch(argv, plain_environment(place.folder), place.folder)

    def is_ready(self, place: Place) -> bool:
        with socket.create_connection((HOST, place.ports["port"]), timeout=1) as connection:
            return connection.recv(3) == b"yes"

    def address(self, place: Place) -> Redis:
        return Redis(url=f"late://{place.ports['port']}")


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    kind = Late()
    monkeypatch.setitem(KINDS, "late", kind)
    return kind


@pytest.fixture
def made(late: Late, tmp_path: Path) -> Iterator[Server]:
    found = Server.make("late", tmp_path / "late", state=tmp_path / "late.json")
    yield found
    found.kill()


def test_an_open_port_is_not_an_answer(made: Server, tmp_path: Path) -> None:
    made.start(wait=False)
    waiting = threading.Thread(target=made.wait_ready)
    waiting.start()
    while not ports.answers(made.ports["port"]):
        assert made.is_alive
    assert not made.answers()
    assert waiting.is_alive()
    (tmp_path / "late/word").touch()
    waiting.join(60)
    assert not waiting.is_alive()
    assert made.answers()


def test_what_never_answers_has_failed_with_the_end_of_its_log(made: Server) -> None:
    made.start(wait=False)
    while not ports.answers(made.ports["port"]):
        assert made.is_alive
    with pytest.raises(StartFailed, match="did not answer for 0 s:\nwaiting for the word"):
        made.wait_ready(patience=0.3)


def test_what_ends_while_it_starts_has_failed_at_once(made: Server, late: Late) -> None:
    late.script = "import sys; sys.exit('the port is taken')"
    with pytest.raises(StartFailed, match="ended while it started:\nthe port is taken"):
        made.start()


def test_it_is_known_to_other_processes_from_its_state(made: Server, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    (tmp_path / "late/word").touch()
    made.start()
    assert made.state is not None
    assert made.state.stat().st_mode & 0o777 == 0o600
    known = Server.load(made.state)
    assert (known.address, known.pid, known.record) == (made.address, made.pid, made.record)
    known.kill()
    assert not made.is_alive
    known.restart()
    assert Server.load(made.state).pid == known.pid != made.pid
    assert known.address == made.address
    known.stop()


def test_no_variable_of_ours_reaches_a_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INFLUXD_LOG_LEVEL", "debug")
    monkeypatch.setenv("MEMORY_GRAPH_KEY", "secret")
    assert not {"INFLUXD_LOG_LEVEL", "MEMORY_GRAPH_KEY"} & plain_environment(tmp_path).keys()


def test_ports_are_different_free_and_not_given_to_outgoing_connections() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    found = free_ports(50)
    assert len(set(found)) == 50
    assert not [port for port in found if first <= port <= last]
    with socket.create_server((HOST, found[0])):
        assert not ports.is_free(found[0])
    assert ports.is_free(found[0])


def test_serving_ends_the_server_also_after_an_error(late: Late, tmp_path: Path) -> None:
    (tmp_path / "word").touch()
    made: list[Server] = []

    def fail() -> None:
        with server.serving("late", tmp_path) as found:
            assert found.is_alive
            made.append(found)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not made[0].is_alive
