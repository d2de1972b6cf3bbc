"""One server in a folder: start it, ask it, kill it, freeze it, start it again on the same ports.

with serving("redis", folder) as server:
    client = redis.Redis.from_url(server.address.url)
    server.kill()
    server.restart()
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from deploy.local import process
from deploy.local.addresses import Address
from deploy.local.failures import StartFailed
from deploy.local.kinds import KINDS
from deploy.local.kinds.base import Place, new_secret
from deploy.local.ports import free_ports

START_PATIENCE = 180.0
"""Seconds in which a server has to answer; on a busy machine that takes far longer than alone."""
STOP_PATIENCE = 20.0
_TICK = 0.1
_TAIL = 2_000


class Record(msgspec.Struct):
    """What has to be known of a server to use or to end it from another process."""

    kind: str
    folder: str
    ports: dict[str, int]
    secrets: dict[str, str]
    options: dict[str, Any]
    process: process.Identity | None = None


class Server:
    """A server of one kind; see :func:`serving`.

    With ``state``, a file, what is known of it is kept there from its first start on.
    """

    def __init__(self, record: Record, state: Path | None = None) -> None:
        self.record = record
        self.state = state
        self._kind = KINDS[record.kind]

    @classmethod
    def load(cls, state: Path) -> Server:
        """The server that is known by this file."""
        return cls(msgspec.json.decode(state.read_bytes(), type=Record), state)

    @classmethod
    def make(
        cls,
        kind: str,
        folder: Path,
        *,
        state: Path | None = None,
        ports: Mapping[str, int] | None = None,
        secrets: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Server:
        """A server that is not started yet. Ports and secrets not given are chosen."""
        names = KINDS[kind].ports
        chosen = dict(zip(names, free_ports(len(names)), strict=True)) | dict(ports or {})
        wanted = {name: new_secret() for name in KINDS[kind].secrets} | dict(secrets or {})
        return cls(Record(kind, str(folder.absolute()), chosen, wanted, options), state)

    @property
    def address(self) -> Any:
        """Where it is, a struct of :mod:`deploy.local.addresses`."""
        found: Address = self._kind.address(self._place)
        return found

    @property
    def ports(self) -> Mapping[str, int]:
        return self.record.ports

    @property
    def pid(self) -> int:
        """The process that was started; its process group has the same number."""
        assert self.record.process is not None, "the server was never started"
        return self.record.process.pid

    @property
    def log(self) -> Path:
        """What it wrote to its standard outputs."""
        return Path(self.record.folder) / "output.log"

    @property
    def is_alive(self) -> bool:
        return self.record.process is not None and bool(process.members(self.record.process))

    def start(self, *, wait: bool = True) -> None:
        """Starts it on its ports and its data, and waits until it answers."""
        Path(self.record.folder).mkdir(parents=True, exist_ok=True)
        launch = self._kind.prepare(self._place)
        self.record.process = process.spawn(*launch, self.log)
        self._save()
        if wait:
            self.wait_ready()

    def answers(self) -> bool:
        """Whether it answers a real request now."""
        try:
            return self._kind.is_ready(self._place)
        except OSError:
            return False

    def wait_ready(self, patience: float = START_PATIENCE) -> None:
        """Waits until it answers a real request. :class:`StartFailed` if it ends or never does."""
        deadline = time.monotonic() + patience
        while not self.answers():
            if not self.is_alive:
                raise StartFailed(f"{self._kind.name} ended while it started:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self._kind.name} did not answer for {patience:.0f} s:\n{self._tail()}"
                )
            time.sleep(_TICK)

    def stop(self) -> None:
        """Ends it in an orderly way; after 20 s, or when it is frozen and does not wake, hard."""
        if self.record.process is not None:
            process.end(self.record.process, self._kind.stop_signal, STOP_PATIENCE)

    def kill(self) -> None:
        """SIGKILL to all of its processes; returns when they are gone."""
        if self.record.process is not None:
            process.send(self.record.process, signal.SIGKILL)
            process.wait_gone(self.record.process, STOP_PATIENCE)

    def pause(self) -> None:
        """Freezes it: connections stay, nothing is answered."""
        if self.record.process is not None:
            process.send(self.record.process, signal.SIGSTOP)

    def resume(self) -> None:
        if self.record.process is not None:
            process.send(self.record.process, signal.SIGCONT)

    def restart(self, *, wait: bool = True) -> None:
        """Starts it again on the same ports and data; ends it first when it runs."""
        self.stop()
        self.start(wait=wait)

    @property
    def _place(self) -> Place:
        record = self.record
        return Place(Path(record.folder), record.ports, record.secrets, record.options)

    def _save(self) -> None:
        """Secrets are in it, so that only its owner reads it; it is there whole or not at all."""
        if self.state is None:
            return
        fresh = self.state.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.encode(self.record))
        fresh.rename(self.state)

    def _tail(self) -> str:
        if not self.log.exists():
            return "It wrote nothing."
        return self.log.read_bytes()[-_TAIL:].decode(errors="replace")


@contextmanager
def serving(kind: str, folder: Path, **options: Any) -> Iterator[Server]:
    """A server of its own in ``folder`` on free ports, ended afterwards.

    Options: ``ports`` and ``secrets`` (by name, instead of chosen ones), ``settings`` (lines for
    its configuration file), and those of its kind (see :mod:`deploy.local.kinds`).
    """
    server = Server.make(kind, folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
