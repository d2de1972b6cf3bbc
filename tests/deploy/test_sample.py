"""The sample is what its README says, and its script makes the same files from the same data."""

from __future__ import annotations

import csv
import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.sample.build import HERE, build
from flows.filelog import PARTITIONS, START, PartitionReader, append_events, partitions_of
from schemas.chunk import Chunk
from schemas.items import Decoded
from schemas.log import LogRecord
from stages.dedupe import Dedupe
from stages.validate import Validate
from tests.stages.twins import MemoryClaims


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[LogRecord]:
    folder = tmp_path_factory.mktemp("log")
    with (HERE / "events.jsonl").open("rb") as lines:
        assert append_events(lines, folder).refused == []
    with (HERE / "broken.jsonl").open("rb") as lines:
        assert len(append_events(lines, folder).refused) == 4
    with (HERE / "broken.jsonl").open("rb") as lines:
        append_events(lines, folder, topic="llm.prompts.v1")
    found: list[LogRecord] = []
    for partition in partitions_of(folder, tuple(PARTITIONS)):
        found += _read(folder, partition)
    return found


def _read(folder: Path, partition: Any) -> list[LogRecord]:
    reader = PartitionReader(folder, partition, START)
    try:
        return reader.take(10_000, lambda _: True)
    finally:
        reader.close()


def test_verdicts(records: list[LogRecord]) -> None:
    validate, dedupe = Validate(), Dedupe(MemoryClaims(), b"k" * 32)
    codes: Counter[str] = Counter()
    events: list[Decoded] = []
    for record in records:
        first = validate(Chunk(record.origin, [record]))  # type: ignore[arg-type]
        second = dedupe(first.passed)
        events += second.passed.items
        codes.update(r.code for r in (*first.rejected, *second.rejected))
        codes["duplicate"] += second.duplicates
    assert codes == {
        "duplicate": 8,
        "conflicting_duplicate": 1,
        "missing_field": 2,
        "empty_text": 1,
        "out_of_range": 1,
        "wrong_type": 1,
        "not_allowed": 1,
        "duplicate_key": 1,
        "invalid_json": 1,
        "invalid_utf8": 1,
        "lone_surrogate": 1,
    }
    kinds = Counter(event.kind for event in events)
    assert 450 < kinds["prompt"] + kinds["response"] < 550
    assert kinds["session"] > 5


def test_disorder_and_orphans() -> None:
    lines = (HERE / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if '"many"' not in line]
    prompts = {e["eventId"]: e["timestamp"] for e in events if "prompt" in e}
    responses = {e["eventId"]: e for e in events if "response" in e}
    orphans = [e for e in responses.values() if e["promptEventId"] not in prompts]
    early = [e for e in responses.values() if e["timestamp"] < prompts.get(e["promptEventId"], "0")]
    assert len(orphans) == 1
    assert len(early) == 7
    assert max(prompts[e["promptEventId"]][:10] for e in early) == "2026-10-07"
    answers = Counter(e["promptEventId"] for e in responses.values())
    assert sorted(answers.values())[-3:] == [1, 2, 2]


def test_directory_and_size() -> None:
    users = tomllib.loads((HERE / "directory.toml").read_text("utf-8"))["users"]
    assert len({user["tenant"] for user in users}) == 3
    assert len({user["id"] for user in users}) == 10
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 1_000_000


def test_the_script_is_deterministic(tmp_path: Path) -> None:
    heads = ("Explain", "Generate a list of", "Suggest", "Name")
    pairs = [
        {"user_query": f"{heads[n % 4]} thing number {n}.", "chatgpt_response": f"It is {n}. " * 5}
        for n in range(600)
    ]
    (tmp_path / "chat").mkdir()
    text = "\n".join(json.dumps(pair) for pair in pairs)
    (tmp_path / "chat" / "halueval_general.jsonl").write_text(text, "utf-8")
    (tmp_path / "traces").mkdir()
    with (tmp_path / "traces" / "azure_llm_conv_2023.csv").open("w", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
        for n in range(19_000):
            rows.writerow([f"2023-11-16 18:{n // 400:02d}:{n // 8 % 50:02d}.0000000", 1, 1])
    assert build(tmp_path) == build(tmp_path)
