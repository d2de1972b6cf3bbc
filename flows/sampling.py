"""Measures sizes, lag and backlogs beside the work, and tells whoever shows them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from flows.control import Control
from flows.health import Health, write_health
from flows.metrics import Metrics
from flows.stats import RunStats, RunSummary
from flows.stores import Stores
from schemas.failures import UserError
from schemas.ports import Damaged, Unavailable

LAST_SAMPLE = 3.0
"""Seconds that the end of a run waits for the last sample: a server may not answer."""

Display = Callable[[RunSummary], None]

_log = structlog.get_logger("sampling")


class Sampler:
    """Two threads: one calls ``display`` and leaves the health in the data folder a few times a
    second, the other measures every ``every`` seconds, however long a store takes to answer."""

    def __init__(
        self,
        *,
        data: Path,
        lag: Callable[[], dict[str, int]],
        stores: Stores,
        stats: RunStats,
        metrics: Metrics,
        control: Control,
        health: Callable[[], Health],
        hit_rates: Callable[[], dict[str, float]],
        usage: Callable[[], dict[str, int]] = dict,
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
        self._health = health
        self._hit_rates = hit_rates
        self._usage = usage
        self._every = every
        self._display = display
        self._refresh = refresh
        self._lag: dict[str, int] | None = None
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=serve, name=name, daemon=True)
            for name, serve in (("display", self._show), ("sampler", self._sample))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops after one last sample."""
        if self._closed.is_set():
            return
        self._closed.set()
        for thread in self._threads:
            thread.join(LAST_SAMPLE)
        self._tell()

    def summary(self) -> RunSummary:
        """What the run has done, with the lag as last measured."""
        lag = None if self._lag is None else sum(self._lag.values())
        return self._stats.summary(
            lag=lag, troubles=self._control.troubles, stopped=self._control.stopping
        )

    def _show(self) -> None:
        while not self._closed.wait(self._refresh):
            self._tell()

    def _tell(self) -> None:
        self._try(lambda: write_health(self._data, self._health()))
        if self._display is not None:
            self._display(self.summary())

    def _sample(self) -> None:
        """Measures the lag more often where it is shown."""
        every = self._every if self._display is None else min(1.0, self._every)
        sampled = time.monotonic() - self._every + self._refresh
        closed = self._closed.wait(self._refresh)
        while True:
            self._try(self._locate)
            if closed and self._control.stopping:
                return  # Who waits for the end of a worker has no time for sizes.
            if closed or time.monotonic() - sampled >= self._every:
                sampled = time.monotonic()
                self._measure()
            if closed:
                return
            closed = self._closed.wait(every)

    def _locate(self) -> None:
        self._lag = self._measure_lag()
        self._metrics.lag(self._lag)

    def _measure(self) -> None:
        """Each by itself: of what does not answer, the last sample stands."""
        stores, metrics = self._stores, self._metrics
        self._try(lambda: metrics.graph_size(*stores.views.graph.counts()))
        self._try(lambda: metrics.sizes(stores.sizes()))
        self._try(lambda: metrics.backlog(stores.parking.backlog()))
        self._try(lambda: metrics.requests(stores.requests.backlog()))
        self._try(lambda: metrics.letters(stores.letters.at_most()))
        metrics.hit_rates(self._hit_rates())
        metrics.embedding(self._usage())

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (Unavailable, Damaged, UserError, OSError) as error:
            # The writers meet the same fault and decide; a missing sample harms nobody.
            _log.debug("no_sample", error=type(error).__name__)
