"""The stages write what the reference derives; and the reference is not blind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.sample.build import HERE as SAMPLE
from flows.filelog import append_events
from schemas.log import LogRecord
from stages.lookup import TomlRegistry, shipped_models
from stages.pii.detect import PatternDetector
from stages.pii.settings import PiiSettings
from tests.generate import ORPHAN_AFTER_MS, directory_toml, read_log, write_log
from tests.reference import Expected, Setup, derive, read_users
from tests.reference.worker import Worker

HOUR = 3_600_000


def setup(directory: Path, orphan_after_ms: int) -> Setup:
    settings = PiiSettings()
    return Setup(
        patterns=PatternDetector(settings.detect),
        names=None,
        registry=TomlRegistry(shipped_models()),
        users=read_users(directory),
        pseudonym_key=b"p" * 32,
        image_key=b"i" * 32,
        pii=settings,
        orphan_after_ms=orphan_after_ms,
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[LogRecord]:
    folder = tmp_path_factory.mktemp("sample")
    for name, topic in (("events.jsonl", None), ("broken.jsonl", "llm.prompts.v1")):
        with (SAMPLE / name).open("rb") as lines:
            append_events(lines, folder, topic)
    return read_log(folder)


def plain(value: Any) -> Any:
    """As JSON: lists are lists, whatever they were."""
    return json.loads(json.dumps(value))


def rows(table: dict[Any, Any]) -> dict[str, Any]:
    return {repr(key): plain(value) for key, value in table.items()}


def compare(worker: Worker, expected: Expected) -> None:
    graph = worker.stores.graph
    assert rows(graph.nodes()) == rows(expected.nodes)
    assert rows(graph.edges()) == rows(expected.edges)
    assert graph.hash() == expected.graph_hash()
    found: dict[str, dict[tuple[str, str], Any]] = {}
    for (store, me), record in worker.stores.others.items():
        found.setdefault(store, {})[me.kind, me.id] = record
        origin = record.stamp.origin
        place = (origin.topic, origin.partition, origin.offset)
        assert place in expected.copies[me.kind, me.id]
    assert rows({me: [v.text_hash, v.metadata] for me, v in found["VectorRecord"].items()}) == rows(
        {me: [v["text_hash"], v["metadata"]] for me, v in expected.vectors.items()}
    )
    assert rows(
        {me: [p.time_ns, p.tags, p.fields] for me, p in found["PointRecord"].items()}
    ) == rows({me: [p["time_ns"], p["tags"], p["fields"]] for me, p in expected.points.items()})
    assert rows({me: [d.text, d.fields] for me, d in found["DocumentRecord"].items()}) == rows(
        {me: [d["text"], d["fields"]] for me, d in expected.documents.items()}
    )
    assert worker.duplicates == expected.duplicates
    dead = {(r.origin.topic, r.origin.partition, r.origin.offset): r.code for r in worker.rejected}
    assert dead.keys() == expected.dead.keys()
    assert all(code in expected.dead[place] for place, code in dead.items())


def test_the_sample(sample: list[LogRecord]) -> None:
    directory = SAMPLE / "directory.toml"
    config = setup(directory, 24 * HOUR)
    worker = Worker(config, directory)
    worker.run(sample)
    expected = derive(sample, config)
    compare(worker, expected)
    assert worker.codes().total() == 11
    assert Counter(expected.states.values())["orphan"] == 1
    assert {label for label, _ in expected.nodes} == {
        *("Tenant", "User", "Application", "Session", "Prompt", "Response"),
        *("Model", "Template", "Document", "ToolCall", "Text"),
    }


def test_a_generated_log(tmp_path: Path) -> None:
    directory = tmp_path / "directory.toml"
    directory.write_text(directory_toml(7), "utf-8")
    records = write_log(tmp_path / "log", 600, seed=7)
    config = setup(directory, ORPHAN_AFTER_MS // 4)
    worker = Worker(config, directory)
    worker.run(records)
    compare(worker, derive(records, config))


def test_the_reference_tells_a_lost_event(sample: list[LogRecord]) -> None:
    directory = SAMPLE / "directory.toml"
    config = setup(directory, 24 * HOUR)
    whole = derive(sample[:120], config)
    end = max(record.origin.timestamp for record in sample[:120])
    for lost in (3, 50, 100):
        kept = [record for index, record in enumerate(sample[:120]) if index != lost]
        less = derive(kept, config, end)
        assert less.graph_hash() != whole.graph_hash()


def test_order_and_repetition_are_nothing_to_it(sample: list[LogRecord]) -> None:
    directory = SAMPLE / "directory.toml"
    config = setup(directory, 24 * HOUR)
    one, two = derive(sample[:150], config), derive(sample[149::-1], config)
    assert one == two
    twice = derive(sample[:150] + sample[:150], config)
    assert twice.graph_hash() == one.graph_hash()
    assert twice.documents == one.documents
