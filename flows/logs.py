"""Structured logs on standard error: codes and coordinates, never a value of an event."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog
from structlog.typing import EventDict


class _Lines(structlog.PrintLogger):
    """An entry that cannot be written is lost (a full disk, a reader that is gone): no work fails
    for it."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def configure(level: int = logging.INFO, worker: int | None = None) -> None:
    """One line an entry: aligned and coloured on a terminal, JSON elsewhere. ``worker``: the number
    of a member, on each of its lines."""

    def name_worker(_logger: Any, _method: str, entry: EventDict) -> EventDict:
        if worker is not None:
            entry["worker"] = worker
        return entry

    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            name_worker,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )
