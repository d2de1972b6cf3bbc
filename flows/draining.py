"""What a process that drains queues says of itself (``reconcile --follow``, ``enrich --follow``):
the worker's pages, about queues instead of partitions."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from flows.control import Control
from flows.health import code_of, health_pages
from flows.httpserver import Answer, Pages
from flows.metrics import PREFIX
from flows.settings import Settings
from schemas.failures import UserError
from schemas.ports import Damaged, Unavailable

ENRICHMENT = "enrichment"
"""The queue of requests among those of the stores."""
STUCK_SECONDS = 300.0
"""Longer than a batch may take: many texts on a slow machine, or a store that hangs."""

_log = structlog.get_logger("draining")


class Watched(msgspec.Struct, frozen=True):
    """What is asked, from other threads. ``done``: by queue and outcome since the start;
    ``codes``: what a queue waits for now; ``backlog`` may raise Unavailable; ``usage``: of the
    embedder."""

    controls: Callable[[], Iterable[Control]]
    done: Callable[[], Mapping[str, Mapping[str, int]]]
    codes: Callable[[], Mapping[str, str]]
    backlog: Callable[[], Mapping[str, int]]
    usage: Callable[[], Mapping[str, int]] = dict


class DrainHealth(msgspec.Struct, frozen=True):
    """Counts and codes, no event data. ``status`` and ``code`` as a worker's; ``blocking``: queues
    that cannot be read; ``troubles``: all that does not work. By queue: ``backlog``, as it was
    measured last; ``done`` since the start; ``progress``: seconds since something left it."""

    pid: int
    time: float
    status: str
    code: str
    ready: bool
    silent: float | None
    blocking: dict[str, str]
    troubles: dict[str, str]
    backlog: dict[str, int]
    done: dict[str, dict[str, int]]
    progress: dict[str, float]
    usage: dict[str, int]

    @property
    def alive(self) -> bool:
        """False where a restart is the remedy."""
        return self.status not in ("failed", "stuck")


class Drainage:
    """Measures the backlog every few seconds in a thread of its own, and tells the rest when it is
    asked."""

    def __init__(self, watched: Watched, every: float, limit: float = STUCK_SECONDS) -> None:
        self._watched = watched
        self._limit = limit
        self._backlog: dict[str, int] = {}
        self._done: dict[str, dict[str, int]] = {}
        self._moved: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._measure, args=(every,), name="drainage", daemon=True
        )
        self._thread.start()

    def health(self) -> DrainHealth:
        """Now."""
        controls = list(self._watched.controls())
        failures = [c.failure for c in controls if c.failed]
        silences = [silent for c in controls if (silent := c.silent) is not None]
        silent = max(silences) if len(silences) == len(controls) > 0 else None
        if failures:
            status = "failed"
        elif silent is not None and silent > self._limit:
            status = "stuck"
        elif any(c.stopping for c in controls):
            status = "stopping"
        else:
            status = "starting" if silent is None else "ok"
        blocking = {k: v for c in controls for k, v in c.blocking.items()}
        troubles = {k: v for c in controls for k, v in c.troubles.items()}
        with self._lock:
            done = self._noted()
            now = time.monotonic()
            return DrainHealth(
                pid=os.getpid(),
                time=time.time(),
                status=status,
                code=code_of(failures[0]) if failures else "",
                ready=status == "ok" and not blocking,
                silent=silent,
                blocking=blocking,
                troubles={**self._watched.codes(), **troubles},
                backlog=dict(self._backlog),
                done=done,
                progress={queue: now - moved for queue, moved in self._moved.items()},
                usage=dict(self._watched.usage()),
            )

    def close(self) -> None:
        """Does not wait for a measurement that hangs."""
        self._ended.set()

    def _noted(self) -> dict[str, dict[str, int]]:
        done = {queue: dict(counts) for queue, counts in self._watched.done().items()}
        for queue, counts in done.items():
            if counts != self._done.get(queue):
                self._moved[queue] = time.monotonic()
        self._done = done
        return done

    def _measure(self, every: float) -> None:
        while True:
            try:
                backlog = dict(self._watched.backlog())
            except (Unavailable, UserError, Damaged) as error:
                # Whoever reads the queue finds out as well, and says so.
                _log.debug("not_measured", error=type(error).__name__)
            except Exception as error:
                _log.warning("not_measured", error=type(error).__name__)
            else:
                with self._lock:
                    self._backlog = backlog
            with self._lock:
                self._noted()
            if self._ended.wait(every):
                return


class _Collector:
    def __init__(self, health: Callable[[], DrainHealth]) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        now = self._health()
        stores = {queue: left for queue, left in now.backlog.items() if queue != ENRICHMENT}
        yield _gauges("reconciliation_backlog", "Records parked.", "store", stores)
        requests = {q: left for q, left in now.backlog.items() if q == ENRICHMENT}
        yield _gauges("enrichment_backlog", "Events that lack something.", None, requests)
        done = CounterMetricFamily(
            PREFIX + "drained", "What left a queue since the start.", labels=("queue", "status")
        )
        for queue, counts in now.done.items():
            for status, count in counts.items():
                done.add_metric((queue, status), count)
        yield done
        progress = "Time since something last left a queue, or since the start."
        yield _gauges("seconds_since_progress", progress, "queue", now.progress)
        yield _gauges("embedding_usage", "What was billed since the start.", "what", now.usage)
        trouble = GaugeMetricFamily(
            PREFIX + "trouble", "1 for what does not work, and why.", labels=("what", "code")
        )
        for what, code in now.troubles.items():
            trouble.add_metric((what, code), 1)
        yield trouble
        yield _gauge("troubles", "Dependencies that do not work now.", len(now.troubles))
        yield _gauge("alive", "0 where a restart is the remedy.", now.alive)
        yield _gauge("ready", "1 while the queues are read.", now.ready)
        yield _gauge("main_loop_silent_seconds", "Time since its last turn.", now.silent or 0.0)


def collector(health: Callable[[], DrainHealth]) -> CollectorRegistry:
    """The metrics of a process that drains queues."""
    registry = CollectorRegistry()
    registry.register(_Collector(health))
    return registry


@contextmanager
def told(settings: Settings, watched: Watched, port: int | None) -> Iterator[int | None]:
    """Serves ``/health``, ``/ready`` and ``/metrics`` on ``port`` until the block ends; with None
    nothing. Answers the port. Raises UserError where it cannot listen."""
    if port is None:
        yield None
        return
    drainage = Drainage(watched, settings.metrics.sample_seconds)
    try:
        registry = collector(drainage.health)

        def metrics(accept: str) -> Answer:
            encode, kind = choose_encoder(accept)
            return Answer(200, kind, encode(registry))

        pages = Pages(settings.metrics.host, port, health_pages(drainage.health, metrics))
        _log.info("metrics", host=settings.metrics.host, port=pages.port)
        try:
            yield pages.port
        finally:
            pages.close()
    finally:
        drainage.close()


def _gauges(name: str, text: str, label: str | None, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=() if label is None else (label,))
    for key, value in values.items():
        family.add_metric(() if label is None else (key,), value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)
