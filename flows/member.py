"""A member of a supervised group: its place, its settings, and its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from flows.health import Health, read_health
from flows.members import ask_health
from flows.settings import Settings

SUSPECTS = "suspects"
HUNG = 75
"""The exit code of a member that ended itself on an event that hung."""
NOT_STARTED = 71
"""What stands for the exit code of one that could not be started (EX_OSERR)."""

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
        self._deaths: deque[float] = deque(maxlen=rules.deaths)

    @property
    def due(self) -> bool:
        return self.process is None and not self.done and time.monotonic() >= self._due

    @property
    def crashing(self) -> bool:
        """Whether it dies again and again. Asked by several threads."""
        limit = time.monotonic() - self._rules.window
        return sum(death >= limit for death in tuple(self._deaths)) >= self._rules.deaths

    def start(self) -> None:
        """In a session of its own: Ctrl-C is for the supervisor, who asks its members to stop.
        Where the machine has no process or no room for it, that is a death."""
        self._started = self._heard = time.monotonic()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.process = subprocess.Popen(
                self._command(self.number),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            _log.error("not_started", worker=self.number, error=type(error).__name__)
            self.died(NOT_STARTED)
            return
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
        """Asks it how it is; kills it where only a restart helps: also one that never says where it
        can be asked."""
        process, port = self.process, self.port
        if process is None:
            return
        health = None if port is None else ask_health(port)
        now = time.monotonic()
        if self.process is not process:
            return  # It ended meanwhile; the next one is not to pay for it.
        if health is not None:
            self.health = health
            self._heard = now
        if (health is not None and health.status == "stuck") or now - self._heard > (
            self._rules.silence
        ):
            _log.error("stuck", worker=self.number, pid=process.pid)
            process.kill()
