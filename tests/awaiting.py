"""What other threads and processes bring about is awaited, never slept for."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds: far more than anything takes, also on a busy machine."""


def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"the condition did not come about in {PATIENCE:.0f} s"
        time.sleep(0.01)
