"""Processes that are killed and come again, and what can be seen of each life from outside."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from benchmarks.commits import Commits
from deploy.local.ports import HOST
from flows.metrics import PREFIX
from flows.settings import DATABASE

TICK = 0.01
PATIENCE = 180.0
Moments = dict[str, float]
Seen = Callable[[Moments], float | None]
"""When something happened, in seconds since 1970; None: it has not yet. It is asked with what
happened before."""


class Life:
    """A process from its start to its SIGKILL. ``steps`` are looked for one after the other, each
    until it is seen, so that nothing is asked of a process earlier than it can answer."""

    def __init__(self, process: subprocess.Popen[bytes], steps: dict[str, Seen]) -> None:
        self._process = process
        self._steps = steps
        self.moments: Moments = {}

    def watch(self) -> Moments:
        """Waits for the last step. Raises RuntimeError when the process ends before, or in
        :data:`PATIENCE` seconds does not get there."""
        deadline = time.monotonic() + PATIENCE
        for name, seen in self._steps.items():
            while (moment := seen(self.moments)) is None:
                if self._process.poll() is not None:
                    raise RuntimeError(f"ended ({self._process.returncode}) before {name}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not in time: {name}")
                time.sleep(TICK)
            self.moments[name] = moment
        return self.moments

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Start(Protocol):
    """Begins another life of the same thing."""

    def __call__(self) -> Life: ...


def serves(port: int) -> Seen:
    """It listens on its port."""

    def seen(_: Moments) -> float | None:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return time.time()
        return None

    return seen


def mapped(process: subprocess.Popen[bytes], path: Path) -> Seen:
    """It has a file in its memory."""
    maps = Path(f"/proc/{process.pid}/maps")
    return lambda _: _now_if(str(path) in maps.read_text("utf-8", errors="replace"))


def logged(path: Path, event: str) -> Seen:
    """A line with this event is in its log; when, says the line."""

    def seen(_: Moments) -> float | None:
        for line in path.read_text("utf-8").splitlines():
            with suppress(ValueError):
                entry: dict[str, Any] = json.loads(line)
                if entry.get("event") == event and entry.get("partitions", 1):
                    return datetime.fromisoformat(entry["timestamp"]).timestamp()
        return None

    return seen


def written(port: int) -> Seen:
    """A store has confirmed a record: the worker's own counter is no longer 0."""
    name = f"{PREFIX}records_written_total{{"

    def seen(_: Moments) -> float | None:
        with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as page:
            lines = page.read().decode().splitlines()
            found = [x for x in lines if x.startswith(name) and 'status="written"' in x]
            if any(float(line.rpartition(" ")[2]) for line in found):
                return time.time()
        return None

    return seen


def group_committed(commits: Commits, after: str) -> Seen:
    """The broker has stored an offset since the step ``after``, and so of this life."""

    def seen(moments: Moments) -> float | None:
        commits.catch_up()
        found = [at / 1_000 for at in commits.moments() if at / 1_000 >= moments[after]]
        return found[0] if found else None

    return seen


def file_committed(data: Path) -> Seen:
    """The file's offsets have moved since this was made."""
    before = _number(data / DATABASE, "SELECT sum(next) FROM offsets")
    return lambda _: _now_if(_number(data / DATABASE, "SELECT sum(next) FROM offsets") > before)


def has_row(path: Path) -> Seen:
    """There is a row in the table ``bare`` of a file."""
    return lambda _: _now_if(_number(path, "SELECT count(*) FROM bare") > 0)


def _number(path: Path, sql: str) -> int:
    """What a query answers; 0 while it cannot be asked."""
    with suppress(sqlite3.Error):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        with closing(connection):
            return int(connection.execute(sql).fetchone()[0] or 0)
    return 0


def _now_if(happened: bool) -> float | None:
    return time.time() if happened else None
