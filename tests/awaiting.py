"""What other threads and processes bring about is awaited, never slept for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from schemas.ports import Unavailable

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds: far more than anything takes, also on a busy machine."""


def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"the condition did not come about in {PATIENCE:.0f} s"
        time.sleep(0.01)


def answered(ask: Callable[[], T]) -> T:
    """What a server says, which may not answer at once on a busy machine."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
