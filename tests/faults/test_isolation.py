"""An event that does harm to the worker becomes a dead letter; all others are as without it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.filelog import LogWriter, NewRecord
from flows.stopping import EXIT_HUNG
from tests.faults.child import SECRET
from tests.faults.contents import Contents, assert_same, contents
from tests.faults.harness import Bench, Ended
from tests.generate import generate

EVENTS = 500
FAST = '[embed]\nmode = "off"\n[pii.detect]\nnames = false\n[worker]\ntime_budget_seconds = 3\n'
PLACES = {"prompt": "llm.prompts.v1", "response": "llm.responses.v1"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Place = tuple[str, int, int]


class Case:
    """A log, and which of its events are to do harm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = list(generate(EVENTS))
        self.log = folder / "log"
        origins = LogWriter(self.log).append(self.records)
        self._places: dict[str, Place] = {
            event_id: (origin.topic, origin.partition, origin.offset)
            for record, origin in zip(self.records, origins, strict=True)
            if (event_id := _id(record))
        }

    def event(self, topic: str, number: int) -> str:
        """The id of an event that comes once, is valid and stands about here in the log."""
        seen = [_id(record) for record in self.records]
        for record in self.records[number:]:
            event_id = _id(record)
            if record.topic == topic and event_id and seen.count(event_id) == 1:
                return event_id
        raise AssertionError

    def place(self, event_id: str) -> Place:
        return self._places[event_id]

    def without(self, ids: Sequence[str]) -> Contents:
        """What an undisturbed worker makes of the log with these events broken."""
        log = self.folder / "calm-log"
        broken = [
            NewRecord(r.topic, b"{}", r.timestamp, r.key, r.headers) if _id(r) in ids else r
            for r in self.records
        ]
        LogWriter(log).append(broken)
        calm = Bench(self.folder / "calm", log, FAST)
        calm.run()
        return contents(calm.database)

    def bench(self) -> Bench:
        return Bench(self.folder / "harmed", self.log, FAST)


def _id(record: NewRecord) -> str | None:
    try:
        event = json.loads(record.value)
    except ValueError:
        return None
    valid = record.headers == () and isinstance(event.get("eventId"), str) and "x" not in event
    return str(event["eventId"]).lower() if valid and "session" in event else None


def run_until_done(bench: Bench, faults: Sequence[str]) -> list[Ended]:
    """Starts the worker again and again, as a supervisor would."""
    ends: list[Ended] = []
    while not ends or ends[-1].code != 0:
        assert len(ends) < 12, [end.code for end in ends]
        with bench.start((sys.executable, "-m", "tests.faults.child", *faults)) as worker:
            ends.append(worker.wait())
    return ends


def letters(found: Contents) -> dict[Place, tuple[str, str]]:
    """Stage and code by coordinates, of the events that broke the worker."""
    codes = {"internal_error", "time_budget", "process_killed"}
    rows = found.tables["dead letters"].items()
    return {place[:3]: row[:2] for place, row in rows if row[1] in codes}


def test_events_that_raise_or_never_end_are_isolated_at_once(tmp_path: Path) -> None:
    case = Case(tmp_path)
    raising, late, looping = (
        case.event(PLACES["prompt"], 100),
        case.event(PLACES["response"], 200),
        case.event(PLACES["prompt"], 300),
    )
    faults = [f"raise:text:{raising}", f"raise:extract:{late}", f"loop:pii:{looping}"]
    bench = case.bench()
    (ended,) = run_until_done(bench, faults)
    found = contents(bench.database)
    assert letters(found) == {
        case.place(raising): ("text", "internal_error"),
        case.place(late): ("extract", "internal_error"),
        case.place(looping): ("pii", "time_budget"),
    }
    assert SECRET not in ended.err
    rows = found.tables["dead letters"].values()
    assert not any(SECRET in str(row) for row in rows)
    assert_same(case.without([raising, late, looping]), found, ["dead letters"])


def test_events_that_kill_the_process_are_isolated_after_restarts(tmp_path: Path) -> None:
    case = Case(tmp_path)
    exiting, crashing = case.event(PLACES["prompt"], 100), case.event(PLACES["prompt"], 300)
    bench = case.bench()
    ends = run_until_done(bench, [f"exit:lookup:{exiting}", f"crash:embed:{crashing}"])
    assert {end.code for end in ends} == {9, -signal.SIGSEGV, 0}
    found = contents(bench.database)
    assert letters(found) == {
        case.place(exiting): ("lookup", "process_killed"),
        case.place(crashing): ("embed", "process_killed"),
    }
    assert_same(case.without([exiting, crashing]), found, ["dead letters"])


def test_an_event_that_hangs_in_c_is_isolated_after_restarts(tmp_path: Path) -> None:
    case = Case(tmp_path)
    hanging = case.event(PLACES["prompt"], 250)
    bench = case.bench()
    ends = run_until_done(bench, [f"hang:text:{hanging}"])
    assert [end.code for end in ends] == [EXIT_HUNG, EXIT_HUNG, 0]
    assert [e["exit_code"] for e in ends[0].entries("event_hung")] == [EXIT_HUNG]
    found = contents(bench.database)
    assert letters(found) == {case.place(hanging): ("text", "process_killed")}
    assert_same(case.without([hanging]), found, ["dead letters"])


def test_an_event_that_stops_all_threads_is_isolated_after_restarts(tmp_path: Path) -> None:
    """Code in C that holds the interpreter's lock: no thread of ours can see to it."""
    case = Case(tmp_path)
    holding = case.event(PLACES["prompt"], 250)
    bench = case.bench()
    ends = run_until_done(bench, [f"hang-gil:pii:{holding}"])
    assert [end.code for end in ends] == [1, 1, 1, 1, 0]
    found = contents(bench.database)
    assert letters(found) == {case.place(holding): ("pii", "process_killed")}
    assert_same(case.without([holding]), found, ["dead letters"])
