"""The worker's progress while it runs: a panel on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import structlog
from rich.console import Console
from rich.live import Live as RichLive
from rich.table import Table

from flows.stats import RunSummary
from flows.views.summary import STORE_NAMES, alert_text
from schemas.records import STORES

EVERY = 5.0

_log = structlog.get_logger("progress")


class Live:
    """A panel on standard error that is redrawn as the run goes; leaves nothing behind."""

    def __init__(self) -> None:
        self._live = RichLive(
            console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, summary: RunSummary) -> None:
        self._live.update(panel(summary), refresh=True)


class Lines:
    """A structured log line every few seconds, while there is something to say."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._next = time.monotonic() + every
        self._told = -1

    def __call__(self, summary: RunSummary) -> None:
        now = time.monotonic()
        if now < self._next or (summary.events == self._told and not summary.troubles):
            return
        self._next, self._told = now + self._every, summary.events
        _log.info(
            "progress",
            events=summary.events,
            rate=round(summary.rate),
            lag=summary.lag,
            rejected=sum(summary.rejected.values()),
            duplicates=summary.duplicates,
            written={s: summary.written.get(s, {}).get("written", 0) for s in STORES},
            alert=summary.alert,
            troubles=summary.troubles,
        )


def panel(summary: RunSummary) -> Table:
    """Events, rate, lag, rejected and what each store confirmed, in one small grid."""
    grid = Table.grid(padding=(0, 2))
    lag = "–" if summary.lag is None else f"{summary.lag:,}"
    rejected = f"{sum(summary.rejected.values()):,}"
    grid.add_row(
        f"[bold]{summary.events:,}[/] events",
        f"{summary.rate:,.0f}/s",
        f"lag {lag}",
        f"duplicates {summary.duplicates:,}",
        f"rejected {rejected}",
    )
    grid.add_row(
        *(f"{STORE_NAMES[s]} {summary.written.get(s, {}).get('written', 0):,}" for s in STORES)
    )
    if summary.alert:
        grid.add_row(f"[bold red]alert: {alert_text(summary)}[/]")
    for what, code in sorted(summary.troubles.items()):
        grid.add_row(f"[bold red]not reading: {what} ({code})[/]")
    return grid
