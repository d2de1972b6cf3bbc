"""``prove`` as its users call it, over the sample that the real stages have written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from flows.prove import prove
from flows.settings import load_settings
from tests.flows.cli.conftest import CONFIG, SAMPLE, command


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """The sample's data folder, to be damaged."""
    return Path(shutil.copytree(sample, tmp_path / "data"))


def change(data: Path, statement: str) -> None:
    connection = sqlite3.connect(data / "memory.db")
    with connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


def test_the_sample_is_accounted_for_and_derives_to_what_is_stored(copy: Path) -> None:
    report = copy / "report.json"
    done = command("prove", "--all", "--deep", "--json", report, "--data", copy, "--config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_bytes())
    assert found["unaccounted"] == 0
    states = {s: sum(t.get(s, 0) for t in found["states"].values()) for s in ("written", "orphan")}
    assert states["orphan"] == 1
    assert found["compared"] == sum(states.values())
    assert found["not_compared"] == {}
    assert sum(found["codes"]["dead_letter"].values()) == 11
    assert "are accounted for" in done.stdout


def test_a_vector_that_is_lost_is_listed_by_its_coordinates_and_fails_the_proof(
    copy: Path,
) -> None:
    change(copy, "DELETE FROM vector_record WHERE record = (SELECT min(record) FROM vector_record)")
    report = copy / "report.json"
    done = command("prove", "--all", "--json", report, "--data", copy, "--config", CONFIG)
    assert done.returncode == 6, done.stdout + done.stderr
    (found,) = json.loads(report.read_bytes())["exceptions"]
    assert found["code"] == "absent_vector"
    assert f"{found['topic']}:{found['partition']}" in done.stdout
    assert "1 of" in done.stdout


TABLES = {
    "graph": "graph_record",
    "vector": "vector_record",
    "timeseries": "timeseries_point",
    "search": "search_document",
}
DAMAGE = {
    "absent": "DELETE FROM {}",
    "stale": "UPDATE {} SET version = 0",
    "differs": "UPDATE {} SET sha256 = 'x'",
}


@pytest.mark.parametrize("store", list(TABLES))
def test_any_record_of_any_store_that_is_lost_or_not_what_it_should_be_is_found(
    copy: Path, store: str
) -> None:
    expected = Counter[str]()
    for kind in ("prompt", "response", "session"):
        if (store, kind) == ("vector", "session"):
            continue  # A session has no text.
        table = TABLES[store]
        ids = f"SELECT id FROM {table} WHERE kind = '{kind}' AND sha256 != 'x' AND version > 0"
        for problem, statement in DAMAGE.items():
            one = f" WHERE kind = '{kind}' AND id = ({ids} ORDER BY id LIMIT 1)"
            change(copy, statement.format(table) + one)
            expected[problem] += 1
    report = prove(load_settings(CONFIG, data=copy))
    found = [code for f in report.exceptions for code in f.code.split(",")]
    mine = Counter(code.split("_")[0] for code in found if code.endswith(f"_{store}"))
    assert {p: mine[p] for p in expected} == expected


@pytest.mark.slow
def test_events_wait_for_their_vectors_and_derive_to_what_they_were_completed_to(
    tmp_path: Path,
) -> None:
    places = ("--data", tmp_path / "data", "--config", CONFIG)
    deferred = {"MEMORY_GRAPH_EMBED__MODE": "deferred"}
    command("log", "append", SAMPLE / "events.jsonl", *places)
    assert command("run", "--json", *places, **deferred).returncode == 0
    report = tmp_path / "report.json"
    proof = ("prove", "--all", "--deep", "--json", report, *places)
    done = command(*proof, **deferred)
    assert done.returncode == 0, done.stdout + done.stderr
    waiting = json.loads(report.read_bytes())["codes"]["waiting"]["enrichment"]
    assert waiting > 10
    assert command("enrich", *places, **deferred).returncode == 0
    done = command(*proof, **deferred)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_bytes())
    assert "waiting" not in found["codes"]
    assert found["compared"] >= waiting
    assert found["not_compared"] == {}


def test_what_is_to_be_proved_has_to_be_said(sample: Path) -> None:
    for given in ((), ("--all", "--from", "3"), ("--from", "3", "--to", "3")):
        done = command("prove", *given, "--data", sample, "--config", CONFIG)
        assert done.returncode == 2
        assert "--" in done.stderr
