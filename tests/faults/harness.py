"""The real worker as a child process: start it, watch it from outside, end it, compare."""

from __future__ import annotations

import base64
import itertools
import json
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from flows.settings import Settings, load_settings
from tests.generate import directory_toml

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from flows.cli import main; main()")
KEY = base64.b64encode(bytes(range(32))).decode()
PATIENCE = 120.0
"""Seconds after which a condition that should come true is a failure. No test measures time."""
_MARK = struct.Struct("<BBBBiqq")
_WORKING = 1


class Ended(NamedTuple):
    """How a process ended; a negative code is the signal that ended it."""

    code: int
    out: str
    err: str

    def entries(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event name."""
        lines = [line for line in self.err.splitlines() if line.startswith("{")]
        return [e for e in map(json.loads, lines) if e.get("event") == event]


class Mark(NamedTuple):
    """What the crash journal shows: which offsets of a partition are in which stage."""

    stage: int
    topic: str
    partition: int
    first: int
    last: int


class Bench:
    """One data folder with its settings; the log may be shared with other benches."""

    def __init__(self, folder: Path, log: Path, sections: str = "") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.data = folder / "data"
        self.log = log
        self.config = folder / "settings.toml"
        (folder / "users.toml").write_text(directory_toml(), "utf-8")
        common = f'[log]\ndir = "{log}"\n[lookup]\nusers = "users.toml"\norphan_after_hours = 1\n'
        self.config.write_text(common + sections, "utf-8")
        self._runs = itertools.count(1)

    def settings(self) -> Settings:
        return load_settings(self.config, data=self.data)

    @property
    def database(self) -> Path:
        return self.data / "memory.db"

    def worker(self, *options: str, **popen: Any) -> Worker:
        """Starts ``memory-graph run``."""
        return self.start((*COMMAND, "run", *options), **popen)

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, **popen: Any
    ) -> Worker:
        """Starts a command on this bench's settings and data."""
        name = self.folder / f"run-{next(self._runs)}"
        given = [*command, "--config", str(self.config), "--data", str(self.data)]
        return Worker(given, self, name, env or {}, popen)

    def run(self, *options: str) -> Ended:
        """Runs the worker to its end, which has to be a good one."""
        with self.worker(*options) as worker:
            return worker.wait(0)

    def command(self, *words: str, code: int = 0) -> Ended:
        """Runs any other command to its end."""
        with self.start((*COMMAND, *words)) as process:
            return process.wait(code)

    def committed(self) -> int:
        """How many records of the log are consumed for good. Does not create or change the file."""
        return int(self.query("SELECT coalesce(sum(next), 0) FROM offsets")[0][0])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            uri = f"{self.database.as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            made = self.database.exists() and self.database.stat().st_size > 0
            if made and not str(error).startswith("no such table"):
                raise
            return [(0,)]  # It is being made.

    def mark(self) -> Mark | None:
        """What the journal shows at this moment, also after the death of the worker."""
        working, mark = self.journal()
        return mark if working else None

    def journal(self) -> tuple[bool, Mark | None]:
        """Whether an event is, or was at death, in a stage; and the last one that was."""
        try:
            page = (self.data / "inflight").read_bytes()[:4096]
        except FileNotFoundError:
            return False, None
        if len(page) < _MARK.size:
            return False, None
        state, stage, length, _, partition, first, last = _MARK.unpack_from(page)
        topic = page[_MARK.size : _MARK.size + length].decode(errors="replace")
        mark = Mark(stage, topic, partition, first, last) if length else None
        return state == _WORKING, mark

    def health(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.data / "worker.json").read_bytes()))
        except FileNotFoundError:
            return {}


class Worker:
    """A process that a test started. It is killed, by its id, when the test leaves the block."""

    def __init__(
        self,
        command: Sequence[str],
        bench: Bench,
        name: Path,
        env: Mapping[str, str],
        popen: Mapping[str, Any],
    ) -> None:
        self.bench = bench
        self._out = name.with_suffix(".out")
        self._err = name.with_suffix(".err")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMORY_GRAPH_")}
        environment |= {"MEMORY_GRAPH_KEY": KEY, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, cwd=bench.folder, env=environment, **popen
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8", errors="replace")

    def until(self, condition: Callable[[], bool], what: str, pause: float = 0.002) -> None:
        """Waits until the condition holds; fails when the process ends before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            code = self.process.poll()
            assert code is None, f"ended ({code}) before {what}:\n{self.err[-3000:]}"
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.err[-3000:]}"
            time.sleep(pause)

    def reaches(self, condition: Callable[[], bool]) -> bool:
        """As :meth:`until`, but False when the process ends before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.err[-3000:]
            time.sleep(0.002)
        return True

    @property
    def begun(self) -> bool:
        """Its main loop turns: what the journal shows is no longer how the last one died."""
        health = self.bench.health()
        return health.get("pid") == self.process.pid and health["status"] != "starting"

    def reads(self) -> bool:
        """Its main loop turns, and an event is in a stage."""
        return self.begun and self.bench.mark() is not None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, code: int | None = None) -> Ended:
        """Waits for the end, and checks the exit code where one is given."""
        ended = self.process.wait(PATIENCE * 4)
        found = Ended(ended, self._out.read_text("utf-8", errors="replace"), self.err)
        if code is not None:
            assert ended == code, f"exit code {ended}, expected {code}:\n{found.err[-3000:]}"
        return found


class Progress:
    """How much of the log has been in a stage so far, seen through the journal."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._ends: dict[tuple[str, int], int] = {}

    def __call__(self) -> int:
        mark = self._bench.mark()
        if mark is not None:
            place = mark.topic, mark.partition
            self._ends[place] = max(self._ends.get(place, 0), mark.last + 1)
        return sum(self._ends.values())

    def at_least(self, target: int) -> Callable[[], bool]:
        return lambda: self() >= target

    def for_seconds(self, seconds: float) -> Callable[[], bool]:
        """True after so much time, in which the progress is watched."""
        end = time.monotonic() + seconds
        return lambda: self() >= 0 and time.monotonic() >= end


@contextmanager
def file_limit(size: int) -> Iterator[Callable[[], None]]:
    """A function for ``preexec_fn``: no file of the child may grow beyond ``size`` bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    yield limit
