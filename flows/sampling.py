"""Measures sizes, lag and backlogs beside the work, and tells whoever shows them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from flows.control import Control
from flows.metrics import Metrics, Sample
from flows.stats import RunStats, RunSummary
from flows.stores import Stores
from schemas.ports import Damaged, Unavailable

HEALTH = "worker.json"
Display = Callable[[RunSummary], None]

_log = structlog.get_logger("sampling")


class Health(msgspec.Struct, frozen=True):
    """What the worker says of itself in ``<data>/worker.json``: counts and codes, no event data.

    ``time`` is the wall clock in seconds since 1970, for whoever asks whether it is recent.
    """

    pid: int
    time: float
    events: int
    rate: float
    rejected_share: float
    alert: bool
    troubles: dict[str, str]


class Sampler:
    """A thread that calls ``display`` a few times a second and measures every ``every`` seconds."""

    def __init__(
        self,
        *,
        data: Path,
        lag: Callable[[], dict[str, int]],
        stores: Stores,
        stats: RunStats,
        metrics: Metrics,
        control: Control,
        hit_rates: Callable[[], dict[str, float]],
        every: float,
        display: Display | None = None,
        refresh: float = 0.25,
    ) -> None:
        self._data = data
        self._measure_lag = lag
        self._stores = stores
        self._stats = stats
        self._metrics = metrics
        self._control = control
        self._hit_rates = hit_rates
        self._every = every
        self._display = display
        self._refresh = refresh
        self._lag: dict[str, int] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops after one last sample."""
        self._closed.set()
        self._thread.join()
        self._tell(sampled=True)

    def summary(self) -> RunSummary:
        """What the run has done, with the lag as last measured."""
        lag = None if self._lag is None else sum(self._lag.values())
        return self._stats.summary(
            lag=lag, troubles=self._control.troubles, stopped=self._control.stopping
        )

    def _serve(self) -> None:
        sampled = located = 0.0
        while not self._closed.wait(self._refresh):
            now = time.monotonic()
            due = now - sampled >= self._every
            if due:
                sampled = now
            elif self._display is not None and now - located >= 1.0:
                located = now
                self._try(self._locate)
            self._tell(sampled=due)

    def _tell(self, *, sampled: bool) -> None:
        if sampled:
            self._try(self._locate)
            self._try(self._measure)
        summary = self.summary()
        self._try(lambda: self._write_health(summary))
        if self._display is not None:
            self._display(summary)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (Unavailable, Damaged, OSError) as error:
            # The writers meet the same fault and decide; a missing sample harms nobody.
            _log.debug("no_sample", error=type(error).__name__)

    def _locate(self) -> None:
        self._lag = self._measure_lag()

    def _measure(self) -> None:
        stores = self._stores
        nodes, edges = stores.views.graph.counts()
        summary = self.summary()
        self._metrics.sample(
            Sample(
                nodes=sum(nodes.values()),
                edges=sum(edges.values()),
                sizes=stores.sizes(),
                backlog=dict(stores.parking.backlog()),
                dead_letters=stores.letters.count(),
                lag=self._lag or {},
                cache_hit_rates=self._hit_rates(),
                rejected_share=summary.rejected_share,
                alert=summary.alert,
                troubles=len(summary.troubles),
            )
        )

    def _write_health(self, summary: RunSummary) -> None:
        health = Health(
            os.getpid(), time.time(), summary.events, summary.rate, summary.rejected_share,
            summary.alert, summary.troubles,
        )  # fmt: skip
        path = self._data / HEALTH
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(health) + b"\n")
        temporary.replace(path)


def read_health(data: Path) -> Health | None:
    """What the last worker in this folder said of itself; None when there was none."""
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        return msgspec.json.decode((data / HEALTH).read_bytes(), type=Health)
    return None
