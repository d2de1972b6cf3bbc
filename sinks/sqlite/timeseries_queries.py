"""Rollups over the time-series store: tokens, money and latency by tenant, model, user, day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from schemas.queries import Dimension, Usage
from sinks.sqlite.database import Database
from sinks.sqlite.snapshot import snapshot
from sinks.sqlite.timeseries import COUNTS

_EPOCH = date(1970, 1, 1)
_COUNTED = {
    "priced": "cost_status = 'priced'",
    "unpriced": "cost_status = 'unpriced'",
    "inconsistent": "cost_status = 'inconsistent'",
    "lacking": "cost_status = 'lacking'",
    "errors": "status = 'error'",
    "orphans": "status = 'orphan'",
}
_SUMS = tuple(name for name in COUNTS if name.endswith("_tokens"))
_LATENCIES = ("latency_ms", "ttft_ms")
_PERCENTILES = (50, 95)
# Halves of the sum: 64 bits overflow at nine million dollars.
_LOW = 1_000_000


class UsageQueries:
    """Queries over the points; each raises Unavailable or Damaged. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def usage(
        self,
        by: Sequence[Dimension] = (),
        *,
        tenant: str | None = None,
        model: str | None = None,
        user: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Usage]:
        """One row per group, sorted by its key; without dimensions one row for everything.

        ``since`` (inclusive) and ``until`` (exclusive) are event times in µs since 1970.
        """
        where, arguments = _where(tenant, model, user, since, until)
        rows = snapshot(
            self._database,
            "timeseries",
            lambda connection: [
                connection.execute(sql, arguments).fetchall()
                for sql in (_sums(by, where), *(_ranks(by, where, name) for name in _LATENCIES))
            ],
        )
        width = len(by)
        latencies = [{row[:width]: row[width:] for row in part} for part in rows[1:]]
        usages = [
            _usage(by, row, [found.get(row[:width]) for found in latencies]) for row in rows[0]
        ]
        return sorted(usages, key=lambda usage: [(part is None, part or "") for part in usage.key])


def _where(
    tenant: str | None, model: str | None, user: str | None, since: int | None, until: int | None
) -> tuple[str, list[object]]:
    conditions = {
        "tenant = ?": tenant,
        "model = ?": model,
        "user = ?": user,
        "time >= ?": since,
        "time < ?": until,
    }
    chosen = {text: value for text, value in conditions.items() if value is not None}
    return " AND ".join(("TRUE", *chosen)), list(chosen.values())


def _sums(by: Sequence[Dimension], where: str) -> str:
    billed = "kind = 'response'"
    columns = [
        *by,
        "count(*) FILTER (WHERE kind = 'prompt')",
        f"count(*) FILTER (WHERE {billed})",
        *(f"coalesce(sum({name}) FILTER (WHERE {billed}), 0)" for name in _SUMS),
        f"coalesce(sum(cost_pico_usd / {_LOW}) FILTER (WHERE {billed}), 0)",
        f"coalesce(sum(cost_pico_usd % {_LOW}) FILTER (WHERE {billed}), 0)",
        *(f"count(*) FILTER (WHERE {billed} AND {rule})" for rule in _COUNTED.values()),
    ]
    grouped = f" GROUP BY {', '.join(by)}" if by else ""
    return f"SELECT {', '.join(columns)} FROM timeseries_point WHERE {where}{grouped}"  # noqa: S608


def _ranks(by: Sequence[Dimension], where: str, name: str) -> str:
    """For each group the nearest-rank percentiles of one latency of its responses."""
    groups = ", ".join(by)
    partition = f"PARTITION BY {groups}" if by else ""
    columns = [
        *by,
        *(f"min({name}) FILTER (WHERE 100 * place >= {p} * of)" for p in _PERCENTILES),
    ]
    return (
        f"SELECT {', '.join(columns)} FROM (SELECT {''.join(f'{g}, ' for g in by)}{name}, "  # noqa: S608
        f"row_number() OVER ({partition} ORDER BY {name}) AS place, "
        f"count(*) OVER ({partition}) AS of FROM timeseries_point "
        f"WHERE {where} AND kind = 'response' AND {name} IS NOT NULL)"
        + (f" GROUP BY {groups}" if by else "")
    )


def _usage(
    by: Sequence[Dimension], row: tuple[Any, ...], latencies: list[tuple[Any, ...] | None]
) -> Usage:
    key = tuple(
        _day(part) if name == "day" else part for name, part in zip(by, row[: len(by)], strict=True)
    )
    prompts, responses, *rest = row[len(by) :]
    tokens, (high, low, *counted) = rest[: len(_SUMS)], rest[len(_SUMS) :]
    measured = [value for pair in latencies for value in (pair or (None, None))]
    values = [prompts, responses, *tokens, high * _LOW + low, *counted, *measured]
    return Usage(key, *values)


def _day(number: int) -> str:
    try:
        return (_EPOCH + timedelta(days=number)).isoformat()
    except OverflowError:
        return str(number)
