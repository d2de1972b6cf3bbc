from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from schemas.ports import Unavailable
from stages.holdoff import LONGEST, PAUSES, Holdoff
from stages.http import retry_after


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def held(holdoff: Holdoff) -> Unavailable | None:
    try:
        holdoff.check()
    except Unavailable as error:
        return error
    return None


def test_pauses_grow_to_a_bound_and_end_with_a_success() -> None:
    clock = Clock()
    holdoff = Holdoff("directory", clock)
    assert held(holdoff) is None
    for number in range(12):
        holdoff.failed("timeout")
        expected = PAUSES[min(number, len(PAUSES) - 1)]
        found = held(holdoff)
        assert found is not None
        assert (found.what, found.code) == ("directory", "timeout")
        assert found.retry_after == pytest.approx(expected, rel=0.21)
        clock.now += expected * 1.21
        assert held(holdoff) is None
        assert holdoff.suspect
    holdoff.worked()
    assert not holdoff.suspect
    holdoff.failed("timeout")
    assert held(holdoff).retry_after < 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("asked", "pause"), [(0.0, 0.4), (7.0, 7.0), (1e9, LONGEST)])
def test_the_pause_that_a_service_asks_for_counts_within_reason(asked: float, pause: float) -> None:
    holdoff = Holdoff("embedder", Clock())
    error = holdoff.failed("rate_limited", asked)
    assert error.retry_after is not None
    assert error.retry_after >= pause
    assert error.retry_after <= max(pause, 0.61)


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "٣", "Wed, 99 Foo 2026"])
def test_a_header_that_makes_no_sense_asks_for_nothing(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": " 12 "}) == 12.0
    now = datetime.now(UTC)
    later = retry_after({"retry-after": format_datetime(now + timedelta(seconds=90), usegmt=True)})
    assert later is not None
    assert 60 < later <= 90
    assert retry_after({"retry-after": format_datetime(now - timedelta(days=1))}) == 0.0


def test_who_names_no_service_needs_none_of_their_libraries() -> None:
    code = (
        "import sys, stages.embed, stages.lookup, flows.services, flows.enrich, flows.pipeline;"
        "print(*{'grpc', 'httpx', 'google.protobuf', 'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == []
