"""What a retry of dead letters leaves behind: nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import msgspec

from flows.retry import retry_letters
from tests.flows import tiny
from tests.flows.test_worker import filled, run


def test_a_retry_closes_its_pipeline_and_gives_the_alarm_back(tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, 20)
    closed: list[bool] = []

    def broken(_: Any) -> None:
        raise ValueError("x")

    def build(*parts: Any) -> Any:
        made = tiny.build(*parts, hook=broken)
        return msgspec.structs.replace(made, close=lambda: closed.append(True))

    run(settings, build=build)
    closed.clear()
    before = signal.getsignal(signal.SIGALRM)
    outcomes = retry_letters(settings, build=build).outcomes
    assert list(outcomes) == ["rejected: internal_error"]
    assert closed == [True]
    assert signal.getsignal(signal.SIGALRM) is before
