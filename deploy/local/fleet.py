"""All servers of a folder: started together, known by their files, ended together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deploy.local import needs, settings
from deploy.local.cache import locked
from deploy.local.kinds import KINDS
from deploy.local.kinds.base import PROGRAMS
from deploy.local.ports import is_free
from deploy.local.server import Server

Say = Callable[[str], None]


class State(NamedTuple):
    """What can be said of a server now."""

    kind: str
    runs: bool
    answers: bool
    server: Server


class Fleet:
    """The servers whose files are in ``folder``. Of several callers one acts at a time."""

    def __init__(self, folder: Path, say: Say = lambda _: None) -> None:
        self.folder = folder.absolute()
        self._say = say

    def start(
        self,
        kinds: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        more: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Path:
        """Starts those of the servers that do not run, each on the ports and data it had before,
        and waits until all answer; returns the path of the TOML. When one fails, those that this
        call started are ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            fetch(kinds, self._say)
            started: list[Server] = []
            try:
                servers = [self._server(kind, (options or {}).get(kind, {})) for kind in kinds]
                for server in servers:
                    if not server.is_alive:
                        server.start(wait=False)
                        started.append(server)
                for server in servers:
                    server.wait_ready()
                    self._say(f"{server.record.kind} answers on {_shown(server)}")
            except BaseException:
                for server in started:
                    server.stop()
                raise
            running = [server for server in self._known() if server.is_alive]
            return settings.write(self.folder, running, more or {})

    def stop(self) -> int:
        """Ends every server, and no other process; returns how many ran."""
        if not self.folder.is_dir():
            return 0
        with locked(self.folder / "lock"):
            running = [server for server in self._known() if server.is_alive]
            for server in reversed(running):
                server.stop()
                self._say(f"{server.record.kind} has ended")
            return len(running)

    def states(self) -> list[State]:
        """Every server that was ever started here."""
        return [
            State(server.record.kind, server.is_alive, server.is_alive and server.answers(), server)
            for server in self._known()
        ]

    def _server(self, kind: str, options: Mapping[str, Any]) -> Server:
        state = self._state(kind)
        if not state.exists():
            return Server.make(kind, self.folder / kind, state=state, **options)
        server = Server.load(state)
        record = server.record
        if server.is_alive or all(map(is_free, record.ports.values())):
            return server
        return Server.make(kind, self.folder / kind, state=state, secrets=record.secrets, **options)

    def _known(self) -> list[Server]:
        return [Server.load(self._state(kind)) for kind in KINDS if self._state(kind).exists()]

    def _state(self, kind: str) -> Path:
        return self.folder / f"{kind}.json"


def fetch(kinds: Sequence[str], say: Say) -> None:
    """Fetches or builds the programs that are not in the cache. Raises :class:`Lacking` first,
    when the machine lacks something for any of them."""
    chosen = [KINDS[kind] for kind in kinds]
    needs.check(chosen)
    for kind in chosen:
        if kind.fetch_needs():
            takes = PROGRAMS[kind.name].get("takes")
            say(f"{kind.name} is fetched{f' ({takes})' if takes else ''}, once on this machine …")
        kind.fetch()


def _shown(server: Server) -> str:
    return ", ".join(f"{name} {port}" for name, port in server.ports.items())
