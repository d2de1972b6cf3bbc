"""Rollups over the points: tokens, money and latency by tenant, model, user, day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from schemas.queries import Dimension, Usage
from sinks.influxdb.client import Client
from sinks.influxdb.lines import EVENT, GREATEST_NS, LEAST_NS, SUPERSEDED, plain, tag_of
from sinks.influxdb.settings import InfluxSettings

_EPOCH = date(1970, 1, 1)
_DAY_NS = 86_400_000_000_000
_MARGIN_NS = 1_000_000
"""A point's time is the event's to the millisecond; below stand digits of its id."""

_SUMS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_pico_usd",
)
_COSTS = ("priced", "unpriced", "inconsistent", "lacking")
_STATUSES = ("error", "orphan")
_LATENCIES = ("latency_ms", "ttft_ms")
_PERCENTILES = (50, 95)
_TAG_DIMENSIONS = ("tenant", "model", "provider", "purpose", "status")
_FIXED = ("event_id", "event_time", "kind", "version", "status", "cost_status", SUPERSEDED)


class InfluxQueries:
    """Implements :class:`schemas.queries.UsageQueries`.

    The points are read and added up here, streamed, in memory bounded by the number of groups and
    of different latencies: sums are exact beyond 64 bits, percentiles are the nearest rank, the
    user is no tag, and of a record that is being replaced one version counts. The server could do
    none of these four.
    """

    def __init__(self, client: Client, settings: InfluxSettings) -> None:
        self._client = client
        self._bucket = settings.bucket

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
        """One row per group, sorted by its key; without dimensions one row for everything."""
        columns = [*_FIXED, *(d for d in by if d in _TAG_DIMENSIONS and d not in _FIXED)]
        if "user" in by or user is not None:
            columns.append("user_id")
        columns += [*_SUMS, *_LATENCIES]
        where = _where(tenant, model, user, since, until)
        statement = f"SELECT {', '.join(columns)} FROM {EVENT}{where}"  # noqa: S608
        groups: dict[tuple[str | None, ...], _Group] = {}
        key_of = _key(by, ["time", *columns])
        at = {name: number for number, name in enumerate(["time", *columns])}
        for row in self._rows(statement, at):
            time = row[at["event_time"]]
            if (since is not None and time < since) or (until is not None and time >= until):
                continue
            if user is not None and row[at["user_id"]] != user:
                continue
            key = key_of(row)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group()
            group.add(row, at)
        if not by and not groups:
            groups[()] = _Group()
        return [
            groups[key].usage(key)
            for key in sorted(groups, key=lambda key: [(part is None, part or "") for part in key])
        ]

    def _rows(self, statement: str, at: dict[str, int]) -> Iterator[list[Any]]:
        """The rows by time, and of the versions of one record the highest."""
        version, event, kind = at["version"], at["event_id"], at["kind"]
        gone = at[SUPERSEDED]
        held: dict[tuple[str, str], list[Any]] = {}
        moment: int | None = None
        for _, values in self._client.stream(self._bucket, statement):
            for row in values:
                if row[gone]:
                    continue
                if row[0] != moment:
                    yield from held.values()
                    held.clear()
                    moment = row[0]
                identity = (row[kind], row[event])
                before = held.get(identity)
                if before is None or int(before[version]) <= int(row[version]):
                    held[identity] = row
        yield from held.values()


class _Group:
    """Sums of one group."""

    __slots__ = ("_costs", "_latencies", "_prompts", "_responses", "_statuses", "_sums")

    def __init__(self) -> None:
        self._prompts = self._responses = 0
        self._sums = [0] * len(_SUMS)
        self._costs: Counter[str | None] = Counter()
        self._statuses: Counter[str] = Counter()
        self._latencies: list[Counter[int]] = [Counter() for _ in _LATENCIES]

    def add(self, row: list[Any], at: dict[str, int]) -> None:
        kind = row[at["kind"]]
        if kind == "prompt":
            self._prompts += 1
        if kind != "response":
            return
        self._responses += 1
        first = at[_SUMS[0]]
        sums = self._sums
        for number, value in enumerate(row[first : first + len(_SUMS)]):
            if value:
                sums[number] += value
        self._costs[row[at["cost_status"]]] += 1
        self._statuses[row[at["status"]]] += 1
        for counts, name in zip(self._latencies, _LATENCIES, strict=True):
            if (value := row[at[name]]) is not None:
                counts[value] += 1

    def usage(self, key: tuple[str | None, ...]) -> Usage:
        measured = [rank(counts, p) for counts in self._latencies for p in _PERCENTILES]
        return Usage(
            key,
            self._prompts,
            self._responses,
            *self._sums,
            *(self._costs[status] for status in _COSTS),
            *(self._statuses[status] for status in _STATUSES),
            *measured,
        )


def rank(counts: Counter[int], percent: int) -> int | None:
    """The least value that ``percent`` in a hundred do not exceed.

    >>> rank(Counter([5, 1, 9]), 50), rank(Counter(), 95)
    (5, None)
    """
    total = sum(counts.values())
    passed = 0
    for value in sorted(counts):
        passed += counts[value]
        if 100 * passed >= percent * total:
            return value
    return None


def _where(
    tenant: str | None, model: str | None, user: str | None, since: int | None, until: int | None
) -> str:
    conditions = []
    for name, value in (("tenant", tenant), ("model", model)):
        if value is not None:
            conditions.append(f"{name} = {_text(tag_of(value))}")
    if user is not None and user.isprintable():
        # InfluxQL has no way to write some of the other characters; rows are looked at again.
        conditions.append(f"user_id = {_text(user)}")
    if since is not None:
        conditions.append(f"time >= {_bounded(since * 1_000 - _MARGIN_NS)}")
    if until is not None:
        conditions.append(f"time < {_bounded(until * 1_000 + _MARGIN_NS)}")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _text(value: str) -> str:
    """A text as InfluxQL has it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _bounded(time_ns: int) -> int:
    return min(max(time_ns, LEAST_NS), GREATEST_NS)


def _key(
    by: Sequence[Dimension], columns: Sequence[str]
) -> Callable[[list[Any]], tuple[str | None, ...]]:
    at = [columns.index(_COLUMNS.get(name, name)) for name in by]
    makers = [_MAKERS.get(name, plain) for name in by]
    return lambda row: tuple([make(row[i]) for make, i in zip(makers, at, strict=True)])


def _day(time_ns: int) -> str:
    return (_EPOCH + timedelta(days=time_ns // _DAY_NS)).isoformat()


_COLUMNS = {"day": "time", "user": "user_id"}
_MAKERS: dict[str, Callable[[Any], str | None]] = {"day": _day, "user": lambda user: user}
"""From a column to the part of a key; all others are tags."""
