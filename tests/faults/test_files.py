"""Faults of the files around a running worker: it says what is wrong, keeps its offsets, and the
result is in the end that of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import pytest

from flows.filelog import LogWriter, create_topics
from flows.stopping import EXIT_STOP_DEADLINE
from schemas.records import Store
from sinks.sqlite.layout import SCHEMA
from tests.faults.conditions import (
    can_mount,
    locked,
    no_growth,
    no_space,
    obey_permissions,
    small_file_system,
)
from tests.faults.contents import Contents, assert_same, contents, fates
from tests.faults.harness import Bench, Ended, Progress, Worker
from tests.generate import generate, read_log

EVENTS = 2_000
FAST = '[embed]\nmode = "off"\n[pii.detect]\nnames = false\n[worker]\nepoch_seconds = 0.05\n'
Fault = Callable[[Worker], AbstractContextManager[None]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    LogWriter(folder).append(list(generate(EVENTS)))
    return folder


@pytest.fixture(scope="module")
def calm(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """What an undisturbed worker makes of the log."""
    bench = Bench(tmp_path_factory.mktemp("calm") / "calm", log, FAST)
    bench.run()
    return contents(bench.database)


@pytest.fixture
def bench(log: Path, tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench", log, FAST)


def half(bench: Bench) -> Callable[[], bool]:
    """The worker is in the middle of the log, and something is committed."""
    progress = Progress(bench)
    return lambda: progress() >= EVENTS // 3 and bench.committed() > 0


def entries(worker: Worker, event: str) -> int:
    return worker.err.count(f'"event": "{event}"')


def _locked(worker: Worker) -> AbstractContextManager[None]:
    return locked(worker.bench.database)


FAULTS: dict[str, tuple[Fault, str]] = {"quota": (no_growth, "io_error")}
FAULTS["locked"] = (_locked, "locked")
if can_mount():
    FAULTS["full"] = (no_space, "full")


@pytest.fixture
def halved(tmp_path: Path) -> Bench:
    """Half of the log is there."""
    bench = Bench(tmp_path / "bench", tmp_path / "log", FAST)
    LogWriter(bench.log).append(list(generate(EVENTS))[: EVENTS // 2])
    return bench


def append_rest(bench: Bench) -> None:
    """So that there is something to write, however fast the worker is."""
    LogWriter(bench.log).append(list(generate(EVENTS))[EVENTS // 2 :])


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, halved: Bench) -> Iterator[tuple[Fault, str]]:
    full = request.param == "full"
    with small_file_system(halved.data) if full else nullcontext():
        yield FAULTS[request.param]


def test_while_the_file_cannot_be_written_the_worker_waits(
    halved: Bench, fault: tuple[Fault, str], calm: Contents
) -> None:
    inflict, code = fault
    with halved.worker("--follow", "--json") as worker:
        worker.until(lambda: halved.committed() > 0, "the first commit")
        with inflict(worker):
            append_rest(halved)
            worker.until(lambda: entries(worker, "stopped_reading") > 0, "the complaint")
            before = halved.committed()
            seen = entries(worker, "stopped_reading")
            worker.until(lambda: entries(worker, "stopped_reading") > seen, "another complaint")
            assert halved.committed() == before < EVENTS
        worker.until(lambda: halved.committed() == EVENTS, "the end of the log")
        worker.signal(signal.SIGTERM)
        ended = worker.wait(0)
    assert {entry["code"] for entry in ended.entries("stopped_reading")} == {code}
    assert_same(calm, contents(halved.database))


def test_a_worker_that_cannot_write_can_be_stopped(
    halved: Bench, fault: tuple[Fault, str], calm: Contents
) -> None:
    inflict, code = fault
    with halved.worker("--follow") as worker:
        worker.until(lambda: halved.committed() > 0, "the first commit")
        with inflict(worker):
            append_rest(halved)
            worker.until(lambda: entries(worker, "stopped_reading") > 0, "the complaint")
            before = halved.committed()
            worker.signal(signal.SIGTERM)
            ended = worker.wait(EXIT_STOP_DEADLINE)
    assert code in ended.err
    assert halved.committed() == before
    halved.run()
    assert_same(calm, contents(halved.database))


def test_a_locked_file_is_named_at_the_start(bench: Bench, calm: Contents) -> None:
    bench.data.mkdir()
    with closing(sqlite3.connect(bench.database)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("DROP TABLE t")
    with locked(bench.database):
        ended = bench.command("run", code=4)
    assert "locked" in ended.err
    assert "Traceback" not in ended.err
    bench.run()
    assert_same(calm, contents(bench.database))


def test_a_file_that_is_no_database_ends_the_worker(bench: Bench) -> None:
    bench.run()
    before = bench.database.read_bytes()
    bench.database.write_bytes(b"not a database, " * 4_096)
    for command in (("run",), ("status",), ("graph", "hash")):
        ended = bench.command(*command, code=5)
        assert "memory.db is not a database" in ended.err
        assert "Traceback" not in ended.err
    bench.database.write_bytes(before)
    bench.run()


def test_a_damaged_file_ends_the_worker_and_commits_nothing(halved: Bench) -> None:
    stop_half_way(halved)
    before = halved.committed()
    root = halved.query("SELECT rootpage FROM sqlite_schema WHERE name = 'graph_edge'")[0][0]
    (size,) = halved.query("PRAGMA page_size")[0]
    with halved.database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)
    ended = halved.command("run", code=5)
    assert "damaged" in ended.err
    assert "Traceback" not in ended.err
    assert halved.committed() == before


def stop_half_way(halved: Bench) -> Ended:
    """However fast the worker is: the rest comes while it stands still, and so does the signal."""
    with halved.worker("--follow", "--json") as worker:
        worker.until(lambda: halved.committed() > 0, "the first commit")
        worker.signal(signal.SIGSTOP)
        append_rest(halved)
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGCONT)
        ended = worker.wait(0)
    assert 0 < halved.committed() < EVENTS
    return ended


def test_sigterm_commits_what_was_read_and_the_next_run_goes_on(
    halved: Bench, calm: Contents
) -> None:
    ended = stop_half_way(halved)
    assert '"stopped": true' in ended.out
    committed = halved.committed()
    assert 0 < committed < EVENTS
    records = [
        r
        for r in read_log(halved.log)
        if r.origin.offset < dict(_offsets(halved)).get((r.origin.topic, r.origin.partition), 0)
    ]
    found = fates(halved.database, records)
    assert (found.total(), found["lost"]) == (committed, 0)
    halved.run()
    assert_same(calm, contents(halved.database))


def _offsets(bench: Bench) -> Iterator[tuple[tuple[str, int], int]]:
    for topic, partition, offset in bench.query("SELECT topic, partition, next FROM offsets"):
        yield (topic, partition), offset


def test_a_stopped_process_goes_on_where_it_was(log: Path, tmp_path: Path, calm: Contents) -> None:
    """The time budget runs out while nothing runs: that is no event's fault."""
    bench = Bench(tmp_path / "bench", log, FAST + "time_budget_seconds = 2\n")
    with bench.worker() as worker:
        worker.until(half(bench), "half of the log")
        worker.signal(signal.SIGSTOP)
        resting = os.times().elapsed
        while os.times().elapsed < resting + 3:
            os.sched_yield()
        worker.signal(signal.SIGCONT)
        worker.wait(0)
    assert_same(calm, contents(bench.database))


def test_a_second_worker_is_refused(bench: Bench, calm: Contents) -> None:
    with bench.worker("--follow") as worker:
        worker.until(half(bench), "half of the log")
        ended = bench.command("run", code=3)
        assert f"in use by another worker (process {worker.process.pid})" in ended.err
        worker.until(lambda: bench.committed() == EVENTS, "the end of the log")
        worker.signal(signal.SIGTERM)
        worker.wait(0)
    assert_same(calm, contents(bench.database))


def test_a_data_folder_without_permission_is_named(halved: Bench, calm: Contents) -> None:
    stop_half_way(halved)
    before = halved.committed()
    paths = [halved.data, *halved.data.iterdir()]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    with halved.worker(preexec_fn=obey_permissions) as worker:
        ended = worker.wait()
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode)
    assert ended.code == 2, ended.err
    assert f"{halved.data}/worker.lock cannot be written (Permission denied)" in ended.err
    assert "Traceback" not in ended.err
    assert halved.committed() == before
    halved.run()
    assert_same(calm, contents(halved.database))


TABLES: dict[Store, str] = {
    "graph": "graph_node",
    "vector": "vector_record",
    "timeseries": "timeseries_point",
    "search": "search_document",
}


@pytest.fixture(scope="module")
def calm_with_vectors(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    folder = tmp_path_factory.mktemp("vectors")
    LogWriter(folder / "log").append(list(generate(300)))
    bench = Bench(folder / "calm", folder / "log")
    bench.run()
    return contents(bench.database)


@pytest.mark.parametrize("store", TABLES)
def test_a_store_without_its_table_is_parked_and_reconciled(
    store: Store, tmp_path: Path, calm_with_vectors: Contents
) -> None:
    log = tmp_path / "log"
    create_topics(log)
    bench = Bench(tmp_path / "bench", log)
    bench.run()
    change(bench, f"DROP TABLE {TABLES[store]}")
    LogWriter(log).append(list(generate(300)))
    ended = bench.run()
    assert {entry["store"] for entry in ended.entries("parked")} == {store}
    assert {code for entry in ended.entries("parked") for code in entry["codes"]} <= {
        "sql_error",
        "circuit_open",
    }
    assert bench.committed() == 300
    backlog = dict(bench.query("SELECT store, count(*) FROM parking GROUP BY store"))
    assert list(backlog) == [store]
    status = json.loads(bench.command("status", "--json").out)
    assert [name for name, _, parked in status["stores"] if parked] == [store]
    assert status["troubles"] == {store: "sql_error"}

    tried = json.loads(bench.command("reconcile", "--json").out)
    assert tried[store]["left"] == backlog[store]
    change(bench, (SCHEMA / f"{store}.sql").read_text("utf-8"))
    drained = json.loads(bench.command("reconcile", "--json").out)
    assert (drained[store]["written"], drained[store]["left"]) == (backlog[store], 0)
    assert_same(calm_with_vectors, contents(bench.database))


def change(bench: Bench, script: str) -> None:
    """What somebody does to the file with other tools, while no worker runs."""
    with closing(sqlite3.connect(bench.database)) as connection:
        connection.executescript(script)


def test_a_torn_last_line_is_reported_and_read_when_it_is_whole(
    tmp_path: Path, calm: Contents
) -> None:
    records = list(generate(EVENTS))
    log = tmp_path / "log"
    origins = LogWriter(log).append(records)
    last = origins[-1]
    segment = log / last.topic / str(last.partition) / f"{0:020d}.jsonl"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-40])
    bench = Bench(tmp_path / "bench", log, FAST)
    ended = bench.run("--json")
    (torn,) = ended.entries("torn_line")
    assert torn["partition"] == f"{last.topic}:{last.partition}"
    assert bench.committed() == EVENTS - 1
    segment.write_bytes(whole)
    assert bench.run("--json").entries("torn_line") == []
    assert bench.committed() == EVENTS
    assert_same(calm, contents(bench.database))


@pytest.mark.parametrize("harm", ["truncated", "emptied", "changed"])
def test_a_log_that_is_not_the_one_that_was_read_is_refused(harm: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    LogWriter(log).append(list(generate(300)))
    bench = Bench(tmp_path / "bench", log, FAST)
    bench.run()
    segment = max(log.rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    whole = segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    segment.write_bytes(
        {
            "truncated": b"".join(lines[:-1]),
            "emptied": b"",
            "changed": b"".join(lines[:-1]) + lines[-1].replace(b'"value"', b'"valuE"'),
        }[harm]
    )
    ended = bench.command("run", code=2)
    assert str(segment) in ended.err
    assert "Restore the log" in ended.err
    assert "Traceback" not in ended.err
    assert bench.committed() == 300
    segment.write_bytes(whole)
    bench.run()
    assert bench.committed() == 300
