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

REFRESH = 0.25
"""Seconds between two looks at what is shown."""

Display = Callable[[RunSummary], None]

_log = structlog.get_logger("sampling")


class HealthFile:
    """Leaves the health in the data folder a few times a second, until it is closed: from the start
    of a worker on, which may wait for a server."""

    def __init__(self, data: Path, health: Callable[[], Health], refresh: float = REFRESH) -> None:
        self._data = data
        self._health = health
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, args=(refresh,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops after it was left once more."""
        self._closed.set()
        self._thread.join(LAST_SAMPLE)
        self._leave()

    def _serve(self, refresh: float) -> None:
        while not self._closed.is_set():
            self._leave()
            self._closed.wait(refresh)

    def _leave(self) -> None:
        _try(lambda: write_health(self._data, self._health()))


class Sampler:
    """Two threads: one calls ``display`` a few times a second, the other measures every ``every``
    seconds, however long a store takes to answer."""

    def __init__(
        self,
        *,
        lag: Callable[[], dict[str, int]],
        stores: Stores,
        stats: RunStats,
        metrics: Metrics,
        control: Control,
        hit_rates: Callable[[], dict[str, float]],
        usage: Callable[[], dict[str, int]] = dict,
        every: float,
        display: Display | None = None,
        refresh: float = REFRESH,
    ) -> None:
        self._measure_lag = lag
        self._stores = stores
        self._stats = stats
        self._metrics = metrics
        self._control = control
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
        display = self._display
        if display is not None:
            _try(lambda: display(self.summary()))

    def _sample(self) -> None:
        """Measures the lag more often where it is shown."""
        every = self._every if self._display is None else min(1.0, self._every)
        sampled = time.monotonic() - self._every + self._refresh
        closed = self._closed.wait(self._refresh)
        while True:
            _try(self._locate)
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
        _try(lambda: metrics.graph_size(*stores.views.graph.counts()))
        _try(lambda: metrics.sizes(stores.sizes()))
        _try(lambda: metrics.backlog(stores.parking.backlog()))
        _try(lambda: metrics.requests(stores.requests.backlog()))
        _try(lambda: metrics.letters(stores.letters.at_most()))
        _try(lambda: metrics.hit_rates(self._hit_rates()))
        _try(lambda: metrics.embedding(self._usage()))


def _try(action: Callable[[], None]) -> None:
    """A missing sample harms nobody; a thread that has ended would leave the last one for good."""
    try:
        action()
    except (Unavailable, Damaged, UserError, OSError) as error:
        # The writers meet the same fault and decide.
        _log.debug("no_sample", error=type(error).__name__)
    except Exception as error:
        _log.warning("no_sample", error=type(error).__name__)
