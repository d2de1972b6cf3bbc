"""What a worker says of itself while it starts, and when a measurement goes wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from flows.control import Control
from flows.health import Health, assess, read_health
from flows.sampling import HealthFile
from flows.stats import RunStats
from flows.worker import prepared
from schemas.ports import Unavailable
from tests.awaiting import until
from tests.flows import tiny
from tests.flows.test_worker import filled


def test_a_worker_says_what_it_waits_for_before_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a server that is not up yet, the start may take as long as that takes."""
    settings, _ = filled(tmp_path, 4)
    seen: list[Health] = []
    down = threading.Event()

    def check(_: Any) -> None:
        if not down.is_set():
            waiting = read_health(settings.data)
            if waiting is not None and waiting.blocking:
                seen.append(waiting)
                down.set()
            raise Unavailable("graph", "refused")

    monkeypatch.setattr("flows.stores.Stores.check", check)
    with prepared(settings, build=tiny.build):
        assert seen[0].blocking == {"graph": "refused"}
        assert not seen[0].ready


def test_what_goes_wrong_once_does_not_end_the_telling(tmp_path: Path) -> None:
    control, stats = Control(), RunStats()
    faults: list[Exception] = [RuntimeError("no room")]

    def health() -> Health:
        if faults:
            raise faults.pop()
        return assess(control, stats.summary())

    file = HealthFile(tmp_path, health, refresh=0.01)
    until(lambda: read_health(tmp_path) is not None)
    file.close()


def test_what_goes_wrong_once_does_not_end_the_measuring(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 4)
    settings = settings.model_copy(
        update={"metrics": settings.metrics.model_copy(update={"sample_seconds": 0.05})}
    )
    with prepared(settings, build=tiny.build) as worker:
        measured = worker.sampler._measure_lag
        faults: list[Exception] = [RuntimeError("no room")]

        def lag() -> dict[str, int]:
            if faults:
                raise faults.pop()
            return measured()

        worker.sampler._measure_lag = lag
        until(lambda: not faults)
        worker.sampler._lag = None
        until(lambda: worker.sampler.summary().lag is not None)
        assert worker.sampler.summary().lag == len(events)
