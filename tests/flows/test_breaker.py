"""When a store's breaker opens, and what closes it again."""

from __future__ import annotations

import pytest

from flows.breaker import Breaker, BreakerSettings


def test_the_breaker_tries_one_call_after_its_recovery_time() -> None:
    now = [0.0]
    breaker = Breaker(BreakerSettings(), lambda: now[0])
    for _ in range(4):
        assert breaker.admit()
        breaker.report(ok=False, seconds=0.1)
    assert (breaker.admit(), breaker.state) == (False, "open")
    now[0] = 30.0
    assert (breaker.admit(), breaker.admit(), breaker.state) == (True, False, "half-open")
    breaker.report(ok=False, seconds=0.1)
    assert not breaker.admit()
    now[0] = 60.0
    assert breaker.admit()
    breaker.report(ok=True, seconds=0.1)
    assert breaker.state == "closed"


def test_slow_calls_open_the_breaker() -> None:
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    for _ in range(4):
        breaker.report(ok=True, seconds=5.1)
    assert not breaker.admit()


def test_a_pause_of_the_process_does_not_open_the_breaker() -> None:
    """Two threads write; what was under way when the process stood still looks slow."""
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    breaker.report(ok=True, seconds=400.0)
    breaker.report(ok=True, seconds=400.0)
    for _ in range(20):
        breaker.report(ok=True, seconds=0.1)
        assert breaker.closed


@pytest.mark.parametrize("before", [0, 100])
def test_calls_that_time_out_open_the_breaker_after_one_round(before: int) -> None:
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    for _ in range(before):
        breaker.report(ok=True, seconds=0.1)
    breaker.report(ok=False, seconds=5.1)
    breaker.report(ok=False, seconds=4.99)
    assert not breaker.closed


def test_the_breaker_stays_closed_below_its_share() -> None:
    breaker = Breaker(BreakerSettings(), lambda: 0.0)
    for number in range(100):
        breaker.report(ok=number % 5 != 0, seconds=0.1)
        assert breaker.admit()
