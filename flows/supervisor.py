"""``run --workers N``: N members of the consumer group on one machine, kept running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec
import structlog

from flows.health import Health, health_pages, read_health, serve_pages, write_health
from flows.ingest import STAGES
from flows.journal import SharedSuspects
from flows.lock import worker_lock
from flows.members import Group, ask_health, merged, metrics_page
from flows.settings import Settings
from schemas.failures import UserError

SUSPECTS = "suspects"
HOPELESS = {2: "user_error", 3: "in_use", 5: "damaged"}
"""Exit codes that a restart would only repeat: they end the group."""
HUNG = 75
TURN = 0.05
"""Seconds between two looks at the members."""
LATE = 4

_log = structlog.get_logger("supervisor")

Command = Callable[[int], Sequence[str]]


class Supervision(msgspec.Struct, frozen=True):
    """When a member is started again: after ``backoff`` seconds, longer from death to death until
    it has run for ``steady`` seconds; ``deaths`` within ``window`` seconds are a crash loop, which
    is an alert. One that is stuck, or has not answered for ``silence`` seconds, is killed."""

    backoff: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
    steady: float = 60.0
    deaths: int = 5
    window: float = 300.0
    silence: float = 120.0
    every: float = 1.0


def member_folder(data: Path, number: int) -> Path:
    """Where a member keeps its lock, journal and health."""
    return data / f"worker-{number}"


def suspects_file(data: Path) -> Path:
    """Where the deaths of all members are counted."""
    return data / SUSPECTS


def check_settings(settings: Settings) -> None:
    """Raises UserError where the settings keep something that only one process can have."""
    if settings.backends.log == "files":
        raise UserError(
            '--workers needs the log in Kafka ([backends] log = "kafka"): one worker reads the '
            "log of a data folder."
        )
    embedded = [name for name, kind in settings.backends.model_dump().items() if kind == "sqlite"]
    if embedded:
        raise UserError(
            f"--workers needs a server for {', '.join(embedded)} (see [backends]): one worker "
            "writes the SQLite file of a data folder."
        )


def member_settings(settings: Settings, number: int) -> Settings:
    """Of a member: its health is for the supervisor alone, its name in a classic group its own."""
    metrics = settings.metrics.model_copy(update={"host": "127.0.0.1", "port": 0})
    changed: dict[str, object] = {"metrics": metrics}
    if settings.kafka.instance_id is not None:
        name = f"{settings.kafka.instance_id}-{number}"
        changed["kafka"] = settings.kafka.model_copy(update={"instance_id": name})
    return settings.model_copy(update=changed)


def member_command(arguments: Sequence[str]) -> Command:
    """How a member is started: this program's ``run`` with these arguments."""
    return lambda number: [
        sys.executable, "-m", "flows.cli", "run", "--member", str(number), *arguments,
    ]  # fmt: skip


def watch_parent() -> None:
    """Called by a member: when the supervisor dies, its standard input ends and it stops."""

    def wait() -> None:
        while os.read(0, 1_024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


class Member:
    """One process, and when it is to run."""

    def __init__(self, number: int, data: Path, command: Command, rules: Supervision) -> None:
        self.number = number
        self.folder = member_folder(data, number)
        self.process: subprocess.Popen[bytes] | None = None
        self.code: int | None = None
        self.done = False
        self.restarts = 0
        self.health: Health | None = None
        self._command = command
        self._rules = rules
        self._due = 0.0
        self._started = 0.0
        self._step = 0
        self._heard = 0.0
        self._deaths: deque[float] = deque()

    @property
    def due(self) -> bool:
        return self.process is None and not self.done and time.monotonic() >= self._due

    @property
    def crashing(self) -> bool:
        """Whether it dies again and again."""
        limit = time.monotonic() - self._rules.window
        while self._deaths and self._deaths[0] < limit:
            self._deaths.popleft()
        return len(self._deaths) >= self._rules.deaths

    def start(self) -> None:
        """In a session of its own: Ctrl-C is for the supervisor, who asks its members to stop."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            self._command(self.number),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started = self._heard = time.monotonic()
        _log.info("started", worker=self.number, pid=self.process.pid)

    def ended(self) -> int | None:
        """The exit code of a process that has just ended (of a signal: minus its number)."""
        if self.process is None or self.process.poll() is None:
            return None
        code = self.code = self.process.returncode
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process, self.health = None, None
        return code

    def died(self, code: int) -> None:
        """Says when it is to be started again."""
        now = time.monotonic()
        if now - self._started > self._rules.steady:
            self._step = 0
        backoff = self._rules.backoff
        delay = 0.0 if code == HUNG else backoff[min(self._step, len(backoff) - 1)]
        self._step += code != HUNG
        self._due = now + delay
        self._deaths.append(now)
        self.restarts += 1
        log = _log.error if self.crashing else _log.warning
        log("died", worker=self.number, exit_code=code, again_in=delay, crash_loop=self.crashing)

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def port(self) -> int | None:
        """Where it serves its health, as it said in its folder; None before."""
        process = self.process
        left = read_health(self.folder) if process is not None else None
        return left.port if left is not None and process and left.pid == process.pid else None

    def ask(self) -> None:
        """Asks it how it is; kills it where only a restart helps."""
        port, process = self.port, self.process
        if port is None or process is None:
            return
        health = ask_health(port)
        now = time.monotonic()
        if health is not None:
            self.health = health
            self._heard = now
        if (health is not None and health.status == "stuck") or now - self._heard > (
            self._rules.silence
        ):
            _log.error("stuck", worker=self.number, pid=process.pid)
            self.send(signal.SIGKILL)


class Supervisor:
    """Starts the members, starts again what dies, and ends them all when it is asked to."""

    def __init__(self, settings: Settings, size: int, command: Command, rules: Supervision) -> None:
        self._settings = settings
        self._rules = rules
        self._suspects = SharedSuspects(suspects_file(settings.data))
        self.members = [Member(n, settings.data, command, rules) for n in range(1, size + 1)]
        self._stop = threading.Event()
        self._told: float | None = None
        self._hopeless: int | None = None
        self._closed = threading.Event()
        self._asker = threading.Thread(target=self._ask, name="health", daemon=True)

    def stop(self) -> None:
        """Asks all members to stop; a second time kills them. Safe in a handler."""
        if self._stop.is_set():
            self._told = -self._settings.worker.stop_seconds
        self._stop.set()

    def run(self) -> int:
        """Returns when all members have ended; answers the exit code."""
        self._asker.start()
        try:
            while not self._turn():
                time.sleep(TURN)
        finally:
            self._closed.set()
            for member in self.members:
                member.send(signal.SIGKILL)
        if self._hopeless is not None:
            return self._hopeless
        codes = [m.code for m in self.members if m.code]
        return 0 if not codes else LATE if self._stop.is_set() else 1

    def _turn(self) -> bool:
        """One look at all members; whether all have ended for good."""
        for member in self.members:
            code = member.ended()
            if code is not None:
                self._handle(member, code)
        if self._stop.is_set():
            return self._stopping()
        for member in self.members:
            if member.due:
                member.start()
        return all(member.done for member in self.members)

    def _handle(self, member: Member, code: int) -> None:
        if self._stop.is_set() or code == 0:
            _log.info("ended", worker=member.number, exit_code=code)
            member.done = True
            return
        self._suspects.count(member.folder / "inflight", STAGES)
        if code in HOPELESS:
            _log.error("ending", worker=member.number, exit_code=code, code=HOPELESS[code])
            self._hopeless = code
            member.done = True
            self._stop.set()
            return
        member.died(code)

    def _stopping(self) -> bool:
        now = time.monotonic()
        running = [member for member in self.members if member.process is not None]
        if self._told is None:
            self._told = now
            for member in running:
                member.send(signal.SIGTERM)
        elif now - self._told > self._settings.worker.stop_seconds + 2.0:
            for member in running:
                member.send(signal.SIGKILL)
        return not running

    def group(self) -> Group:
        """What is known of the members now."""
        return Group(
            size=len(self.members),
            health={m.number: h for m in self.members if (h := m.health) is not None},
            restarts={m.number: m.restarts for m in self.members},
            crashing=[m.number for m in self.members if m.crashing],
            stopping=self._stop.is_set(),
        )

    def ports(self) -> dict[int, int]:
        """Where each member that has said so serves its pages."""
        return {m.number: port for m in self.members if (port := m.port) is not None}

    def _ask(self) -> None:
        while not self._closed.wait(self._rules.every):
            for member in self.members:
                member.ask()
            try:
                write_health(self._settings.data, merged(self.group()))
            except OSError:
                _log.warning("no_health_file")


def supervise(
    settings: Settings,
    size: int,
    command: Command,
    *,
    rules: Supervision = Supervision(),  # noqa: B008
    started: Callable[[Supervisor, int | None], None] | None = None,
) -> int:
    """Runs ``size`` members until they end or SIGTERM or SIGINT comes; answers the exit code.

    ``command`` gives the command line of a member, which keeps to :func:`member_folder`, leaves its
    health there, and stops at the end of its standard input. ``started`` is called with the
    supervisor and the port it serves. Call it from the main thread. Raises UserError.
    """
    with worker_lock(settings.data):
        supervisor = Supervisor(settings, size, command, rules)
        with _signals(supervisor), _served(settings, supervisor) as port:
            if started is not None:
                started(supervisor, port)
            return supervisor.run()


@contextmanager
def _served(settings: Settings, supervisor: Supervisor) -> Iterator[int | None]:
    pages = health_pages(
        lambda: merged(supervisor.group()), metrics_page(supervisor.group, supervisor.ports)
    )
    server = serve_pages(settings, pages)
    try:
        yield None if server is None else server.port
    finally:
        if server is not None:
            server.close()


@contextmanager
def _signals(supervisor: Supervisor) -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        _log.info("stopping", signal=signal.Signals(number).name)
        supervisor.stop()

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
