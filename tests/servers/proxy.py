"""A TCP proxy with faults that are switched while it runs.

    with Proxy(target_port) as proxy:
        client = connect(proxy.address)
        proxy.delay(0.2)          # each direction, each chunk
        proxy.hang()              # connections are taken and stay; nothing passes
        proxy.cut(after=1_000)    # every connection ends after that many more bytes of requests
        proxy.refuse()            # nobody listens; open connections are reset
        proxy.heal()              # as at the start

``proxy.up`` and ``proxy.down`` count the bytes that passed (to the server, to the client), and
``proxy.accepted`` the connections, so that a test can await what it needs (``proxy.wait``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal

from deploy.local.ports import HOST, free_ports

Direction = Literal["up", "down"]
_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
_TICK = 0.01


class Proxy:
    """Stands between clients, who use ``address``, and the server on the loopback port ``target``.

    ``target`` may be set later: a broker has to be told the proxy's port before it starts.
    """

    def __init__(self, target: int = 0, *, port: int | None = None) -> None:
        self.target = target
        self.port = port if port is not None else free_ports(1)[0]
        self.up = self.down = self.accepted = 0
        self._delay = 0.0
        self._hangs = False
        self._cut: dict[Direction, int] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """Passes everything at once; ends no connection. What hung goes on."""
        self._delay, self._hangs, self._cut = 0.0, False, {}
        self._call(self._listen())
        self._loop.call_soon_threadsafe(self._passing.set)

    def delay(self, seconds: float) -> None:
        """Every chunk of bytes takes ``seconds`` longer, in both directions."""
        self._delay = seconds

    def hang(self) -> None:
        """Takes connections and bytes, and passes nothing, until healed."""
        self._hangs = True
        self._call(self._listen())

    def cut(self, after: int = 0, direction: Direction = "up") -> None:
        """Resets the connection over which byte number ``after`` from now passes in ``direction``,
        and every later one at its next byte: in mid-stream, also in mid-request."""
        self._cut = {direction: after}

    def drop(self) -> None:
        """Resets all open connections; new ones are taken."""
        self._call(self._reset_all())

    def refuse(self) -> None:
        """Nobody listens any more; open connections are reset."""
        self._call(self._close())
        self._call(self._reset_all())

    def wait(self, condition: Callable[[Proxy], bool], patience: float = 60.0) -> None:
        """Waits until the condition holds of this proxy."""
        deadline = time.monotonic() + patience
        while not condition(self):
            assert time.monotonic() < deadline, "the proxy did not see what it was to wait for"
            time.sleep(_TICK)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset_all(self) -> None:
        for writer in tuple(self._open):
            _reset(writer)

    async def _finish(self) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._open.add(writer)
        behind: asyncio.StreamWriter | None = None
        try:
            await self._pass_or_hang()
            answers, behind = await asyncio.open_connection(HOST, self.target)
            self._open.add(behind)
            up = asyncio.create_task(self._pump(reader, behind, writer, "up"))
            down = asyncio.create_task(self._pump(answers, writer, behind, "down"))
            await asyncio.wait({up, down}, return_when=asyncio.ALL_COMPLETED)
        except OSError:
            pass  # The server is down: the client's connection ends as it would there.
        finally:
            for end in (writer, behind):
                if end is not None:
                    self._open.discard(end)
                    _reset(end)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        direction: Direction,
    ) -> None:
        """``back`` writes to where ``source`` reads from."""
        try:
            while data := await source.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._pass_or_hang()
                left = self._cut.get(direction)
                if left is not None:
                    self._cut[direction] = max(0, left - len(data))
                    data = data[:left]
                sink.write(data)
                await sink.drain()
                self._count(direction, len(data))
                if left is not None and not self._cut.get(direction, 1):
                    _reset(back)
                    _reset(sink)
                    return
            sink.write_eof()
        except (OSError, RuntimeError):  # Either end is gone.
            _reset(back)
            _reset(sink)

    async def _pass_or_hang(self) -> None:
        while self._hangs:
            self._passing.clear()
            await self._passing.wait()

    def _count(self, direction: Direction, size: int) -> None:
        if direction == "up":
            self.up += size
        else:
            self.down += size


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST, as a process that dies or a middlebox does."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
