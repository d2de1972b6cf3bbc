"""What the worker says of itself: to probes over HTTP, and to ``memory-graph status`` in a file.

Alive and ready are two questions. A store that is down makes a worker neither: it parks that
store's records and goes on. Where nothing can be kept at all it waits, which no restart would
change: not ready, but alive. Not alive is a worker that has failed, or whose main loop stands still
for no reason it knows.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from flows.breaker import Circuit
from flows.control import Control
from flows.httpserver import Answer, Page, Pages, json_answer
from flows.settings import Settings
from flows.stats import RunSummary
from schemas.failures import UserError
from schemas.ports import Damaged, Unavailable

FILE = "worker.json"
PORT = 9090
STUCK_SECONDS = 60.0
"""Longer than all that may happen between two stages: a barrier that waits for retries."""

_log = structlog.get_logger("health")


class Health(msgspec.Struct, frozen=True):
    """Counts and codes, no event data. ``time`` is the wall clock in seconds since 1970.

    ``status``: ``starting``, ``ok``, ``stopping``, ``failed`` (with the ``code`` of why) or
    ``stuck``. ``assigned``: partitions this worker reads. ``blocking``: what reading waits for;
    ``troubles``: all that does not work; ``circuits``: the state of each store's breaker.
    ``alerts``: ``rejected_share``, ``stopped_reading``, ``store_down``, ``crash_loop``. ``port``:
    where it is served. ``members``: of a supervised group, each by its number.
    """

    pid: int
    time: float
    events: int
    rate: float
    rejected_share: float
    alert: bool
    troubles: dict[str, str]
    status: str = "ok"
    code: str = ""
    ready: bool = False
    assigned: int | None = None
    silent: float | None = None
    blocking: dict[str, str] = {}
    circuits: dict[str, Circuit] = {}
    alerts: list[str] = []
    port: int | None = None
    members: dict[str, Health] = {}

    @property
    def alive(self) -> bool:
        """False where a restart is the remedy."""
        return self.status not in ("failed", "stuck")


def assess(
    control: Control,
    summary: RunSummary,
    *,
    limit: float = STUCK_SECONDS,
    port: int | None = None,
) -> Health:
    """The health of a worker now. Without a beat of its main loop for ``limit`` seconds it is
    stuck."""
    silent = control.silent
    blocking = control.blocking
    status = "ok"
    if control.failed:
        status = "failed"
    elif silent is not None and silent > limit:
        status = "stuck"
    elif control.stopping:
        status = "stopping"
    elif silent is None:
        status = "starting"
    return Health(
        pid=os.getpid(),
        time=time.time(),
        events=summary.events,
        rate=summary.rate,
        rejected_share=summary.rejected_share,
        alert=summary.alert,
        troubles=control.troubles,
        status=status,
        code=code_of(control.failure) if status == "failed" else "",
        ready=status == "ok" and control.assigned is not None and not blocking,
        assigned=control.assigned,
        silent=silent,
        blocking=blocking,
        circuits=control.circuits,
        alerts=_alerts(control, summary),
        port=port,
    )


class Assessed(Protocol):
    """What a probe is told; the rest of it is for people."""

    @property
    def alive(self) -> bool: ...

    @property
    def ready(self) -> bool: ...


def health_pages(health: Callable[[], Assessed], metrics: Page) -> dict[str, Page]:
    """``/health`` (is a restart the remedy?), ``/ready`` (does it read?) and ``/metrics``."""

    def alive(_accept: str) -> Answer:
        now = health()
        return json_answer(200 if now.alive else 503, now)

    def ready(_accept: str) -> Answer:
        now = health()
        return json_answer(200 if now.ready else 503, now)

    return {"/health": alive, "/ready": ready, "/metrics": metrics}


def serve_pages(settings: Settings, pages: Mapping[str, Page]) -> Pages | None:
    """Serves them where the settings say; by default on :data:`PORT` with the log in Kafka, and
    else not at all. A default port that is taken is left to whoever has it. Raises UserError."""
    section, chosen = settings.metrics, settings.metrics.port
    if chosen is None and settings.backends.log != "kafka":
        return None
    try:
        server = Pages(section.host, PORT if chosen is None else chosen, pages)
    except UserError:
        if chosen is not None:
            raise
        _log.warning("metrics_port_taken", host=section.host, port=PORT)
        return None
    _log.info("metrics", host=section.host, port=server.port)
    return server


def write_health(data: Path, health: Health) -> None:
    """Leaves it in the data folder. Raises OSError."""
    path = data / FILE
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(health) + b"\n")
    temporary.replace(path)


def read_health(data: Path) -> Health | None:
    """What the last worker in this folder said of itself; None when there was none."""
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        return msgspec.json.decode((data / FILE).read_bytes(), type=Health)
    return None


def _alerts(control: Control, summary: RunSummary) -> list[str]:
    found = {
        "rejected_share": summary.alert,
        "stopped_reading": bool(control.blocking),
        "store_down": any(state != "closed" for state in control.circuits.values()),
    }
    return [code for code, raised in found.items() if raised]


def code_of(failure: BaseException | None) -> str:
    """What ended a process, as a code."""
    if isinstance(failure, Unavailable):
        return failure.code
    if isinstance(failure, Damaged):
        return "damaged"
    return "user_error" if isinstance(failure, UserError) else "internal_error"
