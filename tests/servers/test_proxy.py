"""The proxy does what tests of faults believe it does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.local.ports import HOST, free_ports
from tests.servers.plugin import port_of
from tests.servers.proxy import Proxy

PATIENCE = 60.0


@contextmanager
def echoing() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    port = free_ports(1)[0]
    with socket.create_server((HOST, port)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(4096):
                        connection.sendall(data)
                except OSError:
                    pass

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def between() -> Iterator[Proxy]:
    with echoing() as port, Proxy(port) as proxy:
        yield proxy


def connect(proxy: Proxy, timeout: float = PATIENCE) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=timeout)


def ask(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    answer = b""
    while len(answer) < len(words):
        more = connection.recv(4096)
        if not more:
            return answer
        answer += more
    return answer


def ask_until_reset(connection: socket.socket) -> None:
    while ask(connection, b"words"):
        pass


def test_it_passes_and_counts_what_it_passes(between: Proxy) -> None:
    with connect(between) as one, connect(between) as other:
        assert ask(one, b"words") == b"words"
        assert ask(other, b"more words") == b"more words"
    between.wait(lambda p: p.down == 15)
    assert (between.accepted, between.up) == (2, 15)
    assert port_of(between.address) == port_of(f"http://{between.address}/path") == between.port


def test_the_end_of_a_stream_passes_too(between: Proxy) -> None:
    with connect(between) as connection:
        connection.sendall(b"words")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"words"
        assert connection.recv(100) == b""


def test_a_delay_holds_back_both_directions(between: Proxy) -> None:
    with connect(between) as connection:
        between.delay(0.1)
        before = time.monotonic()
        assert ask(connection, b"words") == b"words"
        assert time.monotonic() - before >= 0.2


def test_what_hangs_answers_after_it_is_healed(between: Proxy) -> None:
    between.hang()
    with connect(between, timeout=0.2) as connection:
        connection.sendall(b"words")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        assert between.down == 0
        between.heal()
        connection.settimeout(PATIENCE)
        assert connection.recv(100) == b"words"


def test_an_open_connection_hangs_too(between: Proxy) -> None:
    with connect(between) as connection:
        assert ask(connection, b"before") == b"before"
        between.hang()
        connection.settimeout(0.2)
        connection.sendall(b"words")
        with pytest.raises(TimeoutError):
            connection.recv(100)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_cut_resets_in_mid_stream_and_after(between: Proxy, direction: str) -> None:
    with connect(between) as connection:
        assert ask(connection, b"before") == b"before"
        between.cut(after=3, direction=direction)  # type: ignore[arg-type]
        with pytest.raises(ConnectionResetError):
            ask_until_reset(connection)
    with connect(between) as connection, pytest.raises(ConnectionResetError):
        ask_until_reset(connection)
    assert (between.up if direction == "up" else between.down) == 6 + 3
    between.heal()
    with connect(between) as connection:
        assert ask(connection, b"words") == b"words"


def test_it_refuses_and_resets_until_healed(between: Proxy) -> None:
    with connect(between) as connection:
        assert ask(connection, b"before") == b"before"
        between.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(between)
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    between.heal()
    with connect(between) as connection:
        assert ask(connection, b"after") == b"after"


def test_a_drop_resets_what_is_open_only(between: Proxy) -> None:
    with connect(between) as connection:
        assert ask(connection, b"before") == b"before"
        between.drop()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with connect(between) as connection:
        assert ask(connection, b"after") == b"after"


def test_a_server_that_is_down_ends_the_connection() -> None:
    with Proxy(free_ports(1)[0]) as proxy, pytest.raises(ConnectionResetError):
        connect(proxy).recv(100)


def test_no_thread_is_left(between: Proxy) -> None:
    def pumps() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "proxy"}

    before = pumps()
    with Proxy(between.target) as proxy, connect(proxy) as connection:
        proxy.hang()
        connection.sendall(b"words")
        assert pumps() - before
    assert pumps() == before
