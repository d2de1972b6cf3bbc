"""``run --workers N``: N members of the consumer group on one machine, kept running."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from flows.health import health_pages, serve_pages, write_health
from flows.ingest import STAGES
from flows.journal import SharedSuspects
from flows.lock import worker_lock
from flows.member import Command, Member, Supervision, suspects_file
from flows.members import Group, merged, metrics_page
from flows.settings import Settings
from flows.stopping import handled
from schemas.failures import UserError

HOPELESS = {2: "user_error", 3: "in_use", 5: "damaged"}
"""Exit codes that a restart would only repeat: they end the group."""
TURN = 0.05
"""Seconds between two looks at the members."""
LATE = 4

_log = structlog.get_logger("supervisor")


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


class Supervisor:
    """Starts the members, starts again what dies, and ends them all when it is asked to."""

    def __init__(self, settings: Settings, size: int, command: Command, rules: Supervision) -> None:
        self._settings = settings
        self._rules = rules
        self._suspects = SharedSuspects(suspects_file(settings.data))
        self.members = [Member(n, settings.data, command, rules) for n in range(1, size + 1)]
        self._stop = False
        self._signal: int | None = None
        self._told: float | None = None
        self._hopeless: int | None = None
        self._closed = threading.Event()
        self._asker = threading.Thread(target=self._ask, name="health", daemon=True)

    def stop(self, number: int | None = None) -> None:
        """Asks all members to stop, because of a signal; a second time kills them. Safe in a
        handler: it takes no lock."""
        if self._stop:
            self._told = -self._settings.worker.stop_seconds
        self._signal = number
        self._stop = True

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
        return 0 if not codes else LATE if self._stop else 1

    def _turn(self) -> bool:
        """One look at all members; whether all have ended for good."""
        for member in self.members:
            code = member.ended()
            if code is not None:
                self._handle(member, code)
        if self._stop:
            return self._stopping()
        for member in self.members:
            if member.due:
                member.start()
        return all(member.done for member in self.members)

    def _handle(self, member: Member, code: int) -> None:
        if self._stop or code == 0:
            _log.info("ended", worker=member.number, exit_code=code)
            member.done = True
            return
        self._try("not_counted", lambda: self._suspects.count(member.folder / "inflight", STAGES))
        if code in HOPELESS:
            _log.error("ending", worker=member.number, exit_code=code, code=HOPELESS[code])
            self._hopeless = code
            member.done = True
            self._stop = True
            return
        member.died(code)

    def _stopping(self) -> bool:
        now = time.monotonic()
        running = [member for member in self.members if member.process is not None]
        if self._told is None:
            self._told = now
            for member in running:
                member.send(signal.SIGTERM)
            if self._signal is not None:
                _log.info("stopping", signal=signal.Signals(self._signal).name)
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
            stopping=self._stop,
        )

    def ports(self) -> dict[int, int]:
        """Where each member that has said so serves its pages."""
        return {m.number: port for m in self.members if (port := m.port) is not None}

    def _ask(self) -> None:
        """Goes on whatever happens: nobody else would see that a member is stuck."""
        while not self._closed.wait(self._rules.every):
            for member in self.members:
                self._try("not_asked", member.ask)
            self._try(
                "no_health_file", lambda: write_health(self._settings.data, merged(self.group()))
            )

    def _try(self, trouble: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            _log.warning(trouble, error=type(error).__name__)


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
        with handled(supervisor.stop), _served(settings, supervisor) as port:
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
