"""Prove: an example of every state, and every kind of damage is noticed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flows.filelog import LogWriter, NewRecord, append_events
from flows.prove import Report
from flows.prove import prove as run_prove
from flows.reconcile import reconcile
from flows.retry import retry_letters
from flows.settings import Settings, load_settings
from schemas.failures import UserError
from schemas.records import STORES, RecordId, Store
from tests.flows import tiny
from tests.flows.test_worker import filled, run, stores_of

PROMPTS, RESPONSES = "llm.prompts.v1", "llm.responses.v1"
COUNT = 60


def prove(settings: Settings, **more: Any) -> Report:
    return run_prove(settings.model_copy(update={"embed": OFF}), build=tiny.build, **more)


OFF = load_settings().embed.model_copy(update={"mode": "off"})
"""The tiny pipeline makes no vectors."""


def states(report: Report) -> dict[str, int]:
    found: dict[str, int] = {}
    for counts in report.states.values():
        for state, count in counts.items():
            found[state] = found.get(state, 0) + count
    return found


def codes(report: Report) -> set[str]:
    return {found.code for found in report.exceptions}


def pair(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A prompt and its response."""
    made = list(tiny.events(40, seed=1_000 + number))
    asked = {e["eventId"]: e for e in made if "prompt" in e}
    response = next(e for e in made if e.get("promptEventId") in asked)
    return asked[response["promptEventId"]], response


def append(settings: Settings, *events: dict[str, Any] | bytes, topic: str | None = None) -> None:
    lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    append_events(lines, settings.log_dir, topic=topic)


def change(settings: Settings, statement: str, *values: Any) -> int:
    """Changes the store file behind everybody's back; answers how many rows."""
    connection = sqlite3.connect(settings.database_path)
    with connection:
        changed = connection.execute(statement, values).rowcount
    connection.close()
    return changed


def test_a_run_is_accounted_for(tmp_path: Path) -> None:
    settings, events = filled(tmp_path, COUNT)
    run(settings)
    for deep in (False, True):
        report = prove(settings, deep=deep)
        assert report.ok, report.exceptions
        assert report.offsets == len(events)
        distinct = len({e["eventId"] for e in events})
        found = states(report)
        assert found.get("duplicate", 0) == len(events) - distinct
        assert found["written"] + found.get("waiting", 0) == distinct
    assert report.compared == distinct
    assert report.not_compared == {}


def test_what_a_worker_has_not_read_waits_for_it(tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, COUNT)
    run(settings)
    append(settings, *pair(1))
    report = prove(settings)
    assert report.ok
    assert report.codes["waiting"]["worker"] == 2


def test_a_response_waits_for_its_prompt_and_is_complete_with_it(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    prompt, response = pair(1)
    append(settings, response)
    run(settings)
    report = prove(settings, deep=True)
    assert report.codes == {"waiting": {"prompt": 1}}
    assert report.ok
    append(settings, prompt)
    run(settings)
    report = prove(settings, deep=True)
    assert (report.ok, states(report), report.compared) == (True, {"written": 2}, 2)


def test_a_response_without_a_prompt_in_time_is_an_orphan(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    _, response = pair(1)
    prompt, _ = pair(2)
    prompt["timestamp"] = "2024-03-01T00:00:00Z"
    append(settings, response, prompt)
    run(settings)
    report = prove(settings, deep=True)
    assert (report.ok, states(report)) == (True, {"orphan": 1, "written": 1})


def test_duplicates_are_accounted_for_where_they_came_first(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    prompt, response = pair(1)
    append(settings, prompt, response, prompt, prompt, response)
    run(settings)
    report = prove(settings, deep=True)
    assert (report.ok, states(report)) == (True, {"written": 2, "duplicate": 3})
    change(settings, "DELETE FROM search_document WHERE kind = 'prompt'")
    report = prove(settings)
    assert report.unaccounted == 3
    assert codes(report) == {"absent_search", "first_absent_search"}


def test_dead_letters_of_every_kind_are_accounted_for(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    prompt, response = pair(1)
    other = {**prompt, "prompt": {"text": "another content"}}
    culprit, _ = pair(2)
    append(settings, b"{nope", topic=PROMPTS)
    append(settings, prompt, response, other, culprit)

    def hook(decoded: Any) -> None:
        if decoded.id == culprit["eventId"]:
            raise ValueError

    run(settings, build=lambda *parts: tiny.build(*parts, hook=hook))
    report = prove(settings, deep=True)
    assert report.ok, report.exceptions
    assert report.codes["dead_letter"] == {
        "invalid_json": 1, "conflicting_duplicate": 1, "internal_error": 1,
    } or sum(report.codes["dead_letter"].values()) == 3  # fmt: skip
    assert change(settings, "DELETE FROM dead_letters WHERE code = 'conflicting_duplicate'") == 1
    assert codes(prove(settings)) == {"other_content"}
    assert change(settings, "DELETE FROM dead_letters WHERE code = 'internal_error'") == 1
    assert codes(prove(settings)) == {"other_content", "absent_graph,absent_search"}
    assert change(settings, "DELETE FROM dead_letters") == 1
    assert codes(prove(settings)) == {
        "other_content", "absent_graph,absent_search", "letter_missing",
    }  # fmt: skip


def test_a_record_that_one_store_refused_is_a_dead_letter(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    search = settings.stores.search.model_copy(update={"max_record_bytes": 1_024})
    stores = settings.stores.model_copy(update={"search": search})
    prompt, response = pair(1)
    prompt["prompt"]["text"] = "much " * 1_000
    append(settings, prompt, response)
    run(settings.model_copy(update={"stores": stores}))
    report = prove(settings, deep=True)
    assert (report.ok, states(report)) == (True, {"dead_letter": 1, "written": 1})
    assert set(report.codes["dead_letter"]) == {"too_large"}
    change(settings, "DELETE FROM dead_letters")
    assert codes(prove(settings)) == {"absent_search"}


def test_a_dead_letter_that_was_retried_is_written(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    prompt, response = pair(1)
    append(settings, prompt, response)

    def hook(decoded: Any) -> None:
        if decoded.id == prompt["eventId"]:
            raise ValueError

    run(settings, build=lambda *parts: tiny.build(*parts, hook=hook))
    report = prove(settings)
    assert (report.ok, report.codes["dead_letter"]) == (True, {"internal_error": 1})
    retry_letters(settings, build=tiny.build)
    report = prove(settings, deep=True)
    assert (report.ok, states(report), report.compared) == (True, {"written": 2}, 2)
    change(settings, "DELETE FROM graph_record WHERE kind = 'prompt'")
    assert codes(prove(settings)) == {"absent_graph"}


def test_a_dead_letter_that_was_discarded_stays_one(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    append(settings, b"{nope", topic=PROMPTS)
    append(settings, pair(1)[0])
    run(settings)
    with stores_of(settings) as stores:
        (letter,) = stores.letters.list()
        stores.letters.resolve(letter.sequence, "discarded")
    report = prove(settings)
    assert (report.ok, report.codes["dead_letter"]) == (True, {"resolved": 1})


def parked(tmp_path: Path, *stores: Store) -> tuple[Settings, int]:
    """A run in which some stores were out of order."""
    settings, events = filled(tmp_path, COUNT)
    section = settings.delivery.model_copy(update={"deadline_seconds": 0.1})

    def build(given: Settings, keys: Any, opened: Any) -> Any:
        for store in stores:
            opened.sinks[store].close()
        return tiny.build(given, keys, opened)

    run(settings.model_copy(update={"delivery": section}), build=build)
    return settings, len({e["eventId"] for e in events})


@pytest.mark.parametrize("down", [("graph",), ("timeseries",), ("graph", "search"), STORES])
def test_what_a_store_could_not_take_waits_for_it(tmp_path: Path, down: tuple[Store, ...]) -> None:
    settings, distinct = parked(tmp_path, *down)
    report = prove(settings, deep=True)
    assert report.ok, report.exceptions
    waiting = {k: n for k, n in report.codes["waiting"].items() if k.startswith("store:")}
    if down == ("graph",):
        assert waiting == {"store:graph": distinct}
    one = change(settings, "DELETE FROM parking WHERE sequence = (SELECT min(sequence) FROM"
                 " parking WHERE store = ?)", down[0])  # fmt: skip
    assert one == 1
    report = prove(settings)
    assert not report.ok
    assert all(f"absent_{down[0]}" in code for code in codes(report))
    reconcile(settings)
    report = prove(settings)
    assert 1 <= report.unaccounted <= 3
    assert "waiting" not in states(report) or set(report.codes["waiting"]) == {"prompt"}


def erase(settings: Settings, *stores: Store) -> RecordId:
    prompt, response = pair(1)
    append(settings, prompt, response)
    run(settings)
    identity = RecordId("prompt", prompt["eventId"])
    with stores_of(settings) as opened:
        for store in stores:
            opened.sinks[store].delete([identity])
    return identity


def test_what_was_erased_is_accounted_for_when_it_is_gone_everywhere(tmp_path: Path) -> None:
    whole = load_settings(data=tmp_path / "whole")
    erase(whole, *STORES)
    report = prove(whole, deep=True)
    assert states(report) == {"erased": 1, "written": 1}
    assert report.not_compared in ({}, {"prompt_unreadable": 1})
    part = load_settings(data=tmp_path / "part")
    erase(part, "graph")
    assert codes(prove(part)) == {"partly_erased"}


DAMAGE: dict[str, tuple[str, str]] = {
    "graph": ("DELETE FROM graph_record WHERE id = ?", "absent_graph"),
    "search": ("DELETE FROM search_document WHERE id = ?", "absent_search"),
    "timeseries": ("DELETE FROM timeseries_point WHERE id = ?", "absent_timeseries"),
    "hash": ("UPDATE timeseries_point SET sha256 = 'x' WHERE id = ?", "differs_"),
    "version": ("UPDATE graph_record SET version = 0 WHERE id = ?", "stale_graph"),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_record_lost_or_changed_in_one_store_is_noticed(tmp_path: Path, damage: str) -> None:
    settings, events = filled(tmp_path, COUNT)
    run(settings)
    victim = next(e for e in events if "prompt" in e)["eventId"]
    statement, code = DAMAGE[damage]
    assert change(settings, statement, victim) == 1
    report = prove(settings)
    assert report.unaccounted >= 1
    assert any(code in found for found in codes(report))
    assert all(victim not in repr(found) for found in report.exceptions)


CONTENT = {
    "search": "UPDATE search_document SET fields = json_set(fields, '$.x', 1) WHERE id = ?",
    "timeseries": "UPDATE timeseries_point SET fields = json_set(fields, '$.n', 2) WHERE id = ?",
    "graph": "UPDATE graph_node SET properties = json_set(properties, '$.time', 1) WHERE key = ?",
}


@pytest.mark.parametrize("store", list(CONTENT))
def test_a_changed_content_is_noticed_by_deriving_it_again(tmp_path: Path, store: str) -> None:
    settings, events = filled(tmp_path, COUNT)
    run(settings)
    victim = next(e for e in events if "prompt" in e)["eventId"]
    assert change(settings, CONTENT[store], victim) >= 1
    assert prove(settings).ok
    report = prove(settings, deep=True)
    assert codes(report) == {f"altered_{store}"}


def test_a_completion_that_was_lost_is_noticed(tmp_path: Path) -> None:
    """The response stands as waiting although its prompt has come."""
    settings = load_settings(data=tmp_path)
    prompt, response = pair(1)
    append(settings, response)
    run(settings)
    change(settings, "DELETE FROM join_responses")
    append(settings, prompt)
    run(settings)
    assert codes(prove(settings)) == {"completion_missing"}


def test_offsets_that_the_log_holds_no_more_are_expired(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    log = settings.log.model_copy(update={"keep_bytes": 0})
    settings = settings.model_copy(update={"log": log})
    writer = LogWriter(settings.log_dir, 1)
    for number in range(5):
        value = json.dumps(pair(number)[0]).encode()
        writer.append([NewRecord(PROMPTS, value, 1_700_000_000_000 + number, partition=0)])
    run(settings)
    report = prove(settings, topics=(PROMPTS,), first=0)
    found = states(report)
    assert found["expired"] + found["written"] == 5
    assert found["expired"] > 0
    assert report.ok


def test_a_range_is_proved_alone(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    writer = LogWriter(settings.log_dir, 1 << 20)
    made = [pair(number)[0] for number in range(1_200)]
    records = [
        NewRecord(PROMPTS, json.dumps(e).encode(), 1_700_000_000_000, partition=3) for e in made
    ]
    writer.append(records)
    run(settings)
    change(settings, "DELETE FROM search_document WHERE id = ?", made[700]["eventId"])
    ranges: list[tuple[int, int, int]] = [
        (0, 700, 0),
        (700, 701, 1),
        (600, 1_200, 1),
        (701, 9_999, 0),
    ]
    for first, end, lost in ranges:
        report = prove(settings, topics=(PROMPTS,), first=first, end=end)
        assert report.offsets == min(end, 1_200) - first
        assert [(x.partition, x.offset) for x in report.exceptions] == [(3, 700)] * lost


def test_records_move_from_the_queue_to_the_store_while_it_is_proved(tmp_path: Path) -> None:
    settings, _ = parked(tmp_path, "graph")
    moved: list[bool] = []

    def progress(_report: Report) -> None:
        if not moved:
            moved.append(True)
            reconcile(settings)

    assert prove(settings, progress=progress).ok


def test_an_unknown_topic_is_refused(tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, 2)
    run(settings)
    with pytest.raises(UserError, match=r"There are: llm\.prompts"):
        prove(settings, topics=("llm.prompt.v1",))
