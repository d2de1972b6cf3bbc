"""The sample, through the commands that ``make run`` calls, against the reference."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.sample.build import HERE as SAMPLE
from schemas.log import LogRecord
from tests.e2e.derived import Derived
from tests.faults.harness import Bench
from tests.generate import read_log
from tests.reference import Expected

CHANGES = {
    "node": "UPDATE graph_node SET properties = json_set(properties, '$.tokens', 1000001)"
    " WHERE node = (SELECT max(node) FROM graph_node"
    " WHERE label = 'Prompt' AND properties IS NOT NULL)",
    "register": "UPDATE graph_node SET registers = json_set(registers, '$.lastSeen[2]', 1)"
    " WHERE node = (SELECT max(node) FROM graph_node WHERE label = 'User')",
    "edge": "DELETE FROM graph_edge WHERE (source, type, target) IN"
    " (SELECT source, type, target FROM graph_edge LIMIT 1)",
    "vector": "UPDATE vector_record SET embedding = zeroblob(1536) WHERE record = 9",
    "point": "UPDATE timeseries_point SET time_ns = time_ns + 1 WHERE record = 9",
    "document": "UPDATE search_document SET fields = json_set(fields, '$.state', 'waiting')"
    " WHERE record = 9",
    "column": "UPDATE timeseries_point SET latency_ms = -1 WHERE record = 9",
    "owner": "UPDATE graph_edge SET owner = NULL WHERE (source, type, target) IN"
    " (SELECT source, type, target FROM graph_edge WHERE type = 'PART_OF' LIMIT 1)",
    "origin": 'UPDATE graph_record SET "offset" = "offset" + 1 WHERE record = 9',
    "code": "UPDATE dead_letters SET code = 'internal_error' WHERE sequence = 3",
    "letter": "DELETE FROM dead_letters WHERE sequence = 3",
    "position": "UPDATE offsets SET next = next - 1 WHERE topic = 'llm.sessions.v1'"
    " AND partition = 0",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("sample")
    bench = Bench(folder / "bench", folder / "none")
    bench.config = SAMPLE / "memory-graph.toml"
    bench.command("log", "append", str(SAMPLE / "events.jsonl"))
    bench.command("log", "append", "--topic", "llm.prompts.v1", str(SAMPLE / "broken.jsonl"))
    return bench


@pytest.fixture(scope="module")
def records(bench: Bench) -> list[LogRecord]:
    return read_log(bench.data / "log")


@pytest.fixture(scope="module")
def summary(bench: Bench) -> dict[str, Any]:
    return dict(json.loads(bench.run("--json").out))


@pytest.fixture(scope="module")
def derived(bench: Bench, records: list[LogRecord]) -> Derived:
    return Derived(records, bench.settings())


@pytest.fixture(scope="module")
def expected(derived: Derived) -> Expected:
    return derived.expected


def test_every_line_is_in_the_log_as_it_was(records: list[LogRecord]) -> None:
    files = (SAMPLE / "events.jsonl", SAMPLE / "broken.jsonl")
    lines = Counter(line for file in files for line in _lines(file))
    assert Counter(record.original.open()[2] for record in records) == lines


def test_event_by_event(bench: Bench, summary: dict[str, Any], derived: Derived) -> None:
    assert summary["lag"] == 0
    derived.check(bench.settings())


def test_the_reference_has_something_of_everything(expected: Expected) -> None:
    assert {label for label, _ in expected.nodes} == {
        *("Tenant", "User", "Application", "Session", "Prompt", "Response"),
        *("Model", "Template", "Document", "ToolCall", "Text"),
    }
    assert {type_ for type_, _, _ in expected.edges} == {
        *("PART_OF", "STARTED_BY", "MEMBER_OF", "IN", "RESPONDS_TO", "USES_MODEL", "ALIAS_OF"),
        *("INSTANTIATES", "RETRIEVED", "INVOKES", "HAS_TEXT", "AFTER"),
    }
    assert Counter(expected.states.values()) == {"complete": len(expected.states) - 1, "orphan": 1}
    assert len(expected.documents) == len(expected.points) > len(expected.vectors) > 450
    assert expected.duplicates == 8
    found = {name for d in expected.documents.values() for name in d["fields"].get("entities", ())}
    assert {entity.split(":")[0] for entity in found} >= {
        *("PERSON", "ORGANIZATION", "LOCATION", "EMAIL_ADDRESS"),
    }


def test_the_summary_says_what_is_stored(expected: Expected, summary: dict[str, Any]) -> None:
    assert summary["troubles"] == {}
    assert summary["events"] == len(_lines(SAMPLE / "events.jsonl")) + 4
    assert summary["duplicates"] == expected.duplicates
    assert sum(row["events"] for row in summary["rejected"]) == len(expected.dead)
    fields = [point["fields"] for point in expected.points.values()]
    for total, field in (
        ("prompt_tokens", "prompt_tokens"),
        ("completion_tokens", "completion_tokens"),
        ("pico_usd", "cost_pico_usd"),
    ):
        assert sum(row[total] for row in summary["usage"]) == sum(f.get(field, 0) for f in fields)
    assert all(set(counts) <= {"written"} for counts in summary["written"].values())


def test_the_graph_hash_is_that_of_the_reference(
    bench: Bench, summary: dict[str, Any], expected: Expected
) -> None:
    assert bench.command("graph", "hash").out.split()[0] == expected.graph_hash()


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_anywhere_is_seen(
    what: str, bench: Bench, summary: dict[str, Any], derived: Derived
) -> None:
    """The comparison is not blind: one changed value in one row of any table makes it fail."""
    before = bench.database.read_bytes()
    try:
        with closing(sqlite3.connect(bench.database)) as connection, connection:
            assert connection.execute(CHANGES[what]).rowcount == 1
        with pytest.raises(AssertionError):
            derived.check(bench.settings())
    finally:
        bench.database.write_bytes(before)


def _lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n") if line.strip()]
