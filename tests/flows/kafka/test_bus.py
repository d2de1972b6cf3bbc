"""The log as the worker asks it beside its work."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flows import bus as module
from flows.bus import KafkaBus
from flows.settings import load_settings


def test_the_client_is_not_closed_under_who_still_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVING", 0.1)
    asked, go = threading.Event(), threading.Event()
    closed: list[bool] = []

    class Offsets:
        def lag(self, _ends: object) -> dict[str, int]:
            asked.set()
            assert go.wait(30)
            return {}

        def close(self) -> None:
            closed.append(go.is_set())

    bus = KafkaBus(load_settings(data=tmp_path))
    bus._offsets = Offsets()  # type: ignore[assignment]
    sampler = threading.Thread(target=bus.lag)
    sampler.start()
    assert asked.wait(30)
    bus.close()
    assert closed == []
    go.set()
    sampler.join(30)
    bus.close()
    assert closed == [True]
