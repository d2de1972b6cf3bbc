"""The worker process: ends, signals, kills; what is in the stores is always the same."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows import worker
from flows.filelog import LogWriter, append_events, log_ends
from flows.health import read_health
from flows.keys import load_keys
from flows.lock import InUse, holder_of, worker_lock
from flows.reconcile import reconcile
from flows.retry import retry_letters
from flows.settings import Settings, load_settings
from flows.stats import RunSummary
from flows.stopping import EXIT_HUNG
from flows.stores import Stores, open_stores
from schemas.queues import DeadLetter
from schemas.records import RecordId
from sinks.sqlite.graph_queries import GraphQueries
from tests.awaiting import until
from tests.flows import tiny

ROOT = Path(__file__).parents[2]
KINDS = ("prompt", "response", "session")


@contextmanager
def stores_of(settings: Settings) -> Iterator[Stores]:
    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        yield stores


def contents(settings: Settings, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything in the four stores, without what depends on the course of a run."""
    ids = [RecordId(kind, e["eventId"]) for e in events for kind in KINDS]  # type: ignore[arg-type]
    with stores_of(settings) as stores:
        found: dict[str, Any] = {
            store: {
                (i.kind, i.id): (x.stamp.sha256, x.stamp.tenant, x.stamp.user, x.content)
                for i, x in sink.fetch(ids).items()
            }
            for store, sink in stores.sinks.items()
        }
        graph = GraphQueries(stores.folder.database)
        found["nodes"] = sorted(repr((n.label, n.key, n.properties)) for n in graph.nodes())
        found["edges"] = sorted(
            repr((e.type, e.source, e.target, e.properties)) for e in graph.all_edges()
        )
        assert sum(len(found[s]) for s in stores.sinks) == sum(
            s.count() for s in stores.sinks.values()
        )
    return found


def lag(settings: Settings) -> int:
    with stores_of(settings) as stores:
        committed = {p: x.offset for p, x in stores.offsets.load().items()}
    return sum(end - committed.get(p, 0) for p, end in log_ends(settings.log_dir).items())


def letters(settings: Settings) -> list[DeadLetter]:
    with stores_of(settings) as stores:
        return list(stores.letters.list())


def filled(data: Path, count: int, seed: int = 0) -> tuple[Settings, list[dict[str, Any]]]:
    settings = load_settings(data=data)
    # A stop that hangs is for pytest's time-out, which says where; the deadline would end pytest.
    patient = settings.worker.model_copy(update={"stop_seconds": 600.0})
    settings = settings.model_copy(update={"worker": patient})
    events = list(tiny.events(count, seed))
    append_events([json.dumps(e).encode() for e in events], settings.log_dir)
    return settings, events


def run(settings: Settings, **more: Any) -> RunSummary:
    return worker.run(settings, build=more.pop("build", tiny.build), **more)


class Process:
    """A worker in a process of its own."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [sys.executable, "-m", "tests.flows.process", str(data), *options]
        self.popen = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def end(self) -> tuple[int, str]:
        _, errors = self.popen.communicate(timeout=120)
        return self.popen.returncode, errors.decode()


def test_a_run_ends_at_the_end_of_the_log_with_everything_committed(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 300)
    summary = run(settings)
    assert (summary.events, summary.lag, summary.rejected) == (len(events), 0, {})
    assert lag(settings) == 0
    distinct = {e["eventId"] for e in events}
    assert summary.duplicates == len(events) - len(distinct)
    found = contents(settings, events)
    assert {i for _, i in found["graph"]} == {i for _, i in found["search"]} == distinct
    again = run(settings)
    assert (again.events, again.lag) == (0, 0)
    assert contents(settings, events) == found


def test_a_log_in_two_parts_gives_what_one_run_gives(tmp_path: Path) -> None:
    whole, events = filled(tmp_path / "whole", 300)
    run(whole)
    parts = load_settings(data=tmp_path / "parts")
    for part in (events[:130], events[130:]):
        append_events([json.dumps(e).encode() for e in part], parts.log_dir)
        run(parts)
    assert contents(parts, events) == contents(whole, events)


def test_no_order_of_the_partitions_changes_the_stores(tmp_path: Path) -> None:
    whole, events = filled(tmp_path / "whole", 200)
    run(whole)
    shuffled = load_settings(data=tmp_path / "shuffled")
    mixed = [*events, *events[::7]]
    random.Random(3).shuffle(mixed)
    append_events([json.dumps(e).encode() for e in mixed], shuffled.log_dir)
    run(shuffled)
    assert contents(shuffled, events) == contents(whole, events)


def test_broken_records_become_dead_letters_and_the_rest_passes(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 60)
    append_events([b"{nope", b"\xff\xfe", b"[]"], settings.log_dir, topic="llm.prompts.v1")
    summary = run(settings)
    assert sum(summary.rejected.values()) == 3
    assert summary.lag == 0
    assert len(letters(settings)) == 3
    with stores_of(settings) as stores:
        opened = {stores.letters.open(x.sequence).open()[2] for x in letters(settings)}  # type: ignore[union-attr]
    assert opened == {b"{nope", b"\xff\xfe", b"[]"}
    assert len(contents(settings, events)["graph"]) == len({e["eventId"] for e in events})


def test_a_dead_letter_is_retried_under_its_own_origin(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 120)
    expected, _ = filled(tmp_path / "expected", 120)
    run(expected)
    wrong = {e["eventId"] for e in events[::10]}

    def hook(decoded: Any) -> None:
        if decoded.id in wrong:
            raise ValueError("x")

    def build(*parts: Any) -> Any:
        return tiny.build(*parts, hook=hook)

    run(settings, build=build)
    dead = letters(settings)
    assert {x.event_id for x in dead} == wrong
    assert retry_letters(settings, build=build).outcomes == {"rejected: internal_error": len(dead)}
    assert {x.retries for x in letters(settings)} == {1}
    outcomes = retry_letters(settings, build=tiny.build).outcomes
    assert sum(outcomes.values()) == len(dead)
    assert letters(settings) == []
    run(settings)
    assert contents(settings, events) == contents(expected, events)


def test_what_was_parked_is_reconciled(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 60)
    run(settings)
    expected = contents(settings, events)
    fresh, _ = filled(tmp_path / "fresh", 60)

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        # The search index alone is out of order: its sink is closed.
        stores.sinks["search"].close()
        return tiny.build(given, keys, stores)

    section = {"deadline_seconds": 0.1}
    broken = fresh.model_copy(update={"delivery": fresh.delivery.model_copy(update=section)})
    summary = run(broken, build=build)
    assert summary.lag == 0
    assert summary.written["search"] == {"parked": len(expected["search"])}
    drained = reconcile(fresh)
    assert (drained["search"].written, drained["search"].left) == (len(expected["search"]), 0)
    assert contents(fresh, events) == expected


def test_a_second_worker_on_a_folder_is_refused(tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, 1)
    with worker_lock(tmp_path):
        with pytest.raises(InUse, match="in use by another worker"):
            run(settings)
        code, errors = Process(tmp_path).end()
    assert code == 3
    assert "another worker" in errors
    assert holder_of(tmp_path) is None


def test_sigterm_commits_what_was_read_and_exits_0(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 100)
    process = Process(tmp_path, "--follow")
    until(lambda: settings.database_path.exists() and (h := read_health(tmp_path)) is not None
          and h.events >= len(events))  # fmt: skip
    process.popen.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0
    assert lag(settings) == 0
    append_events([json.dumps(e).encode() for e in tiny.events(50, 1)], settings.log_dir)
    assert run(settings).events == len(list(tiny.events(50, 1)))


def kill_until_done(settings: Settings, seed: int, times: int) -> int:
    """Kills a worker at random moments ``times`` times, then lets it finish."""
    rng = random.Random(seed)
    killed = 0
    while killed < times:
        process = Process(settings.data)
        try:
            process.popen.wait(rng.uniform(0.5, 2.5))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.end()
            killed += 1
        else:
            break
    assert Process(settings.data).end()[0] == 0
    return killed


def test_kill_9_changes_nothing(tmp_path: Path) -> None:
    undisturbed, events = filled(tmp_path / "a", 3_000)
    run(undisturbed)
    killed, _ = filled(tmp_path / "b", 3_000)
    assert kill_until_done(killed, 1, 3) > 0
    assert lag(killed) == 0
    assert letters(killed) == []
    assert contents(killed, events) == contents(undisturbed, events)


def test_an_event_that_kills_the_process_is_isolated(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 60)
    culprit = events[20]["eventId"]
    codes = []
    for _ in range(9):
        codes.append(Process(tmp_path, "--fault", f"kill:{culprit}").end()[0])
        if codes[-1] == 0:
            break
    assert codes == [-signal.SIGKILL] * 4 + [0]
    assert [(x.stage, x.code) for x in letters(settings)] == [("text", "process_killed")]
    assert lag(settings) == 0
    found = contents(settings, events)
    assert {i for _, i in found["graph"]} == {e["eventId"] for e in events} - {culprit}


def test_an_event_that_cannot_be_interrupted_ends_the_process_and_is_isolated(
    tmp_path: Path,
) -> None:
    settings, events = filled(tmp_path, 30)
    config = tmp_path / "settings.toml"
    config.write_text("[worker]\ntime_budget_seconds = 1.5\n")
    fault = ("--fault", f"hang:{events[9]['eventId']}", "--config", str(config))
    codes = []
    for _ in range(5):
        codes.append(Process(tmp_path, *fault).end()[0])
        if codes[-1] == 0:
            break
    assert codes == [EXIT_HUNG, EXIT_HUNG, 0]
    assert [x.code for x in letters(settings)] == ["process_killed"]


def test_an_event_that_stops_all_threads_is_isolated_after_restarts(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 30)
    config = tmp_path / "settings.toml"
    config.write_text("[worker]\ntime_budget_seconds = 1.5\n")
    fault = ("--fault", f"hold:{events[9]['eventId']}", "--config", str(config))
    codes, errors = [], ""
    for _ in range(9):
        code, text = Process(tmp_path, *fault).end()
        codes.append(code)
        errors += text
        if code == 0:
            break
    assert codes[-1] == 0
    assert len(codes) > 4
    assert set(codes[:-1]) == {1}
    assert "tests/flows/process.py" in errors
    assert [x.code for x in letters(settings)] == ["process_killed"]


def test_a_damaged_database_ends_the_worker(tmp_path: Path) -> None:
    from schemas.ports import Damaged

    settings, _ = filled(tmp_path, 10)
    run(settings)
    settings.database_path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Damaged):
        run(settings)


def test_a_log_that_shrank_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    from flows.filelog import LogShrank

    settings, _ = filled(tmp_path, 50)
    run(settings)
    for path in settings.log_dir.rglob("*.jsonl"):
        path.write_bytes(b"")
    with pytest.raises(LogShrank):
        run(settings)


def test_the_metrics_of_the_specification_exist_and_count(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, metrics_port=0)
    append_events(tiny.lines(5), settings.log_dir)
    with worker.prepared(settings, build=tiny.build) as prepared:
        assert prepared.metrics_port
        url = f"http://127.0.0.1:{prepared.metrics_port}/metrics"
        text = urllib.request.urlopen(url).read().decode()
    for name in (
        "events_received_total", "enrichment_duration_seconds", "write_latency_seconds",
        "queries_total", "query_duration_seconds", "cache_hit_rate", "graph_nodes_total",
        "graph_edges_total", "storage_size_bytes",
    ):  # fmt: skip
        assert f"# TYPE llm_memory_graph_{name} " in text.replace("_total_total", "_total")
    assert (
        'llm_memory_graph_events_received_total{status="accepted",topic="llm.prompts.v1"} 0.0'
        in text
    )


def test_progress_is_displayed_and_ends_with_the_summary(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, 100)
    shown: list[RunSummary] = []
    summary = run(settings, display=shown.append)
    assert shown[-1].events == summary.events == len(events)
    assert read_health(tmp_path).events == len(events)  # type: ignore[union-attr]


def test_old_segments_are_removed_when_configured(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    log = settings.log.model_copy(update={"keep_bytes": 0})
    settings = settings.model_copy(update={"log": log})
    events = list(tiny.events(200))
    append_events([json.dumps(e).encode() for e in events], settings.log_dir)
    assert LogWriter(settings.log_dir, 1).append([]) == []
    writer = LogWriter(settings.log_dir, 1)
    from flows.filelog import NewRecord

    for event in list(tiny.events(40, 5)):
        if "prompt" in event:
            value = json.dumps(event).encode()
            writer.append([NewRecord("llm.prompts.v1", value, 1_700_000_000_000, partition=0)])
    before = len(list(settings.log_dir.rglob("*.jsonl")))
    run(settings)
    assert len(list(settings.log_dir.rglob("*.jsonl"))) < before
    assert run(settings).events == 0
