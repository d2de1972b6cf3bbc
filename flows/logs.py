"""Structured logs on standard error: codes and coordinates, never a value of an event."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
