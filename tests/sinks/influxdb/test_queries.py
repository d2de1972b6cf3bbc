"""The rollups say what the SQLite store says of the same points."""

from __future__ import annotations

import doctest
import itertools
import random
from pathlib import Path
from typing import Any

from schemas.ports import WRITTEN
from schemas.records import PointRecord
from sinks.influxdb import lines, queries
from sinks.influxdb.lines import Point, point
from sinks.influxdb.places import GAP_NS, intervals
from sinks.influxdb.store import InfluxStore
from sinks.sqlite.database import Database
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.timeseries_queries import UsageQueries
from tests.conformance.records import START, stamp

DIMENSIONS = ("tenant", "model", "user", "day", "provider", "purpose", "status")
STATUSES = ("priced", "unpriced", "inconsistent", "lacking", "none")


def points(source: random.Random, count: int) -> list[PointRecord]:
    made = []
    for number in range(count):
        kind: Any = source.choice(("prompt", "response", "response", "session"))
        when = START + source.randrange(-3, 3) * 40_000_000_000 + number
        held = stamp(
            number,
            source.randrange(1, 4),
            kind,
            time=when,
            tenant=source.choice((None, "a", "_", "%5F", "b c")),
            user=source.choice((None, "u", "_", "v\n", "ü")),
        )
        fields: dict[str, Any] = {"event_id": held.id, "text_tokens": 7}
        if kind == "response":
            fields |= {name: source.randrange(1 << 40) for name in queries._SUMS[:6]}
            fields["cost_status"] = source.choice(STATUSES)
            if fields["cost_status"] == "priced":
                fields["cost_pico_usd"] = source.randrange(1 << 63)
            for name in ("latency_ms", "ttft_ms"):
                if source.random() < 0.8:
                    fields[name] = source.randrange(50)
        tags = {
            "model": source.choice(("_", "%5F", "m,1", "m=2")),
            "provider": source.choice(("openai", "_")),
            "purpose": source.choice(("chat", "_")),
            "status": source.choice(("ok", "error", "orphan")),
        }
        time_ns = when // 1_000 * 1_000_000 + number
        made.append(PointRecord(held, time_ns, tags, fields))
    return made


def test_usage_is_that_of_the_twin(store: InfluxStore, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    made = points(source, 400)
    database = Database.open(tmp_path / "memory.db")
    try:
        for sink in (store.sink, TimeseriesSink(database)):
            assert set(sink.write(made)) == {WRITTEN}
        twin = UsageQueries(database)
        asked: list[dict[str, Any]] = [
            {},
            {"tenant": "a"},
            {"tenant": "_"},
            {"tenant": "%5F", "user": "_"},
            {"model": "m,1"},
            {"model": "_"},
            {"model": "%5F"},
            {"user": "v\n"},
            {"since": START},
            {"until": START + 100},
            {"since": START - 40_000_000_000 + 10, "until": START + 30},
            {"since": START + 100, "until": START + 100},
            {"since": -(1 << 63), "until": (1 << 63) - 1},
        ]
        assert sum(usage.cost_pico_usd for usage in twin.usage()) > 1 << 63
        for filters in asked:
            for by in [(), *((d,) for d in DIMENSIONS), *itertools.combinations(DIMENSIONS, 2)]:
                assert store.queries.usage(by, **filters) == twin.usage(by, **filters), (  # type: ignore[arg-type]
                    by,
                    filters,
                )
    finally:
        database.close()


def test_intervals_hold_all_and_little_else() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    for _ in range(50):
        times = [
            source.randrange(10) * 10**12 + source.randrange(10**9)
            for _ in range(source.randrange(1, 30))
        ]
        found = list(intervals(times))
        bounds = [(int(part.split()[2]), int(part.split()[-1])) for part in found]
        assert all(sum(low <= time <= high for low, high in bounds) == 1 for time in times)
        assert sum(high - low for low, high in bounds) <= GAP_NS * len(times)
        assert len(bounds) <= 10
    assert list(intervals([5, 6])) == ["time >= 5 AND time <= 6"]


def test_the_documented_examples_are_right() -> None:
    assert doctest.testmod(lines).failed == 0
    assert doctest.testmod(queries).failed == 0


def test_a_line_is_one_line_and_its_tags_are_few() -> None:
    made: Point = point(points(random.Random(1), 1)[0], 1_024, 1 << 20)
    for line in lines.lines(made):
        assert "\n" not in line
    event, _ = lines.lines(made)
    assert [part.partition("=")[0] for part in event.split(" ")[0].split(",")][1:] == [
        lines.MOVED,
        *lines.SERIES,
    ]
