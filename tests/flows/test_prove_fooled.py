"""A proof cannot be fooled: whatever is taken from a store, a queue or the log behind the worker's
back is found, and where nothing could be looked at nothing is claimed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.filelog import LogWriter, NewRecord
from flows.filelog.layout import segment_bases, segment_path
from flows.prove import Report
from flows.prove.log import FileLogView
from flows.settings import Settings, load_settings
from schemas.failures import UserError
from schemas.log import LogRecord, Partition
from schemas.records import STORES, Store
from tests.flows.test_prove import (
    PROMPTS,
    append,
    change,
    codes,
    erase,
    pair,
    prove,
    states,
)
from tests.flows.test_worker import filled, run

PLACE = Partition(PROMPTS, 0)
TABLES = {"graph": "graph_record", "timeseries": "timeseries_point", "search": "search_document"}


def several(settings: Settings, count: int, *, segment: int = 1 << 20) -> list[dict[str, Any]]:
    """Prompts in one partition."""
    made = [pair(number)[0] for number in range(count)]
    writer = LogWriter(settings.log_dir, segment)
    for number, event in enumerate(made):
        value = json.dumps(event).encode()
        writer.append([NewRecord(PROMPTS, value, 1_700_000_000_000 + number, partition=0)])
    return made


def listed(report: Report) -> list[tuple[int, str]]:
    return [(found.offset, found.code) for found in report.exceptions]


def test_where_there_is_no_log_nothing_is_claimed(tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, 4)
    run(settings)
    shutil.rmtree(settings.log_dir)
    with pytest.raises(UserError, match="no event log"):
        prove(settings)


def test_what_retention_took_before_it_was_read_is_lost(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    several(settings, 6, segment=1)
    run(settings)
    change(settings, "DELETE FROM offsets")
    for base in segment_bases(settings.log_dir, PLACE)[:2]:
        segment_path(settings.log_dir, PLACE, base).unlink()
    report = prove(settings)
    assert listed(report) == [(0, "expired_unread"), (1, "expired_unread")]
    assert states(report) == {"unaccounted": 2, "waiting": 4}


def test_a_log_that_is_shorter_than_what_was_read_is_noticed(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    several(settings, 6, segment=1)
    run(settings)
    segment_path(settings.log_dir, PLACE, segment_bases(settings.log_dir, PLACE)[-1]).unlink()
    report = prove(settings)
    assert listed(report) == [(5, "log_shrank")]
    assert states(report) == {"written": 5, "unaccounted": 1}


def test_offsets_that_the_log_in_files_leaves_out_are_no_control_records(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    several(settings, 6, segment=1)
    run(settings)
    segment_path(settings.log_dir, PLACE, segment_bases(settings.log_dir, PLACE)[2]).unlink()
    report = prove(settings)
    assert listed(report) == [(2, "log_gap")]
    assert states(report) == {"written": 5, "unaccounted": 1}


def test_a_line_taken_out_of_the_log_is_noticed(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    several(settings, 6)
    run(settings)
    path = segment_path(settings.log_dir, PLACE, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    found = dict(listed(prove(settings)))
    assert found.keys() == {2, 3, 4, 5}
    assert found[5] == "log_shrank"


def test_segments_may_go_while_it_is_proved(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    several(settings, 6, segment=1)
    run(settings)

    class Offsets:
        def load(self) -> dict[Partition, Any]:
            return {}

    view = FileLogView(settings.log_dir, Offsets())  # type: ignore[arg-type]
    for base in segment_bases(settings.log_dir, PLACE)[:2]:
        segment_path(settings.log_dir, PLACE, base).unlink()
    batches = view.read(PLACE, 0, 6)
    assert [r.origin.offset for batch in batches for r in batch] == [2, 3, 4, 5]
    assert view.start(PLACE) == 2


@pytest.fixture
def repeated(tmp_path: Path) -> tuple[Settings, str]:
    """One prompt six times, of which the log has lost the first: the stores hold that delivery."""
    settings = load_settings(data=tmp_path)
    event = pair(1)[0]
    writer = LogWriter(settings.log_dir, 1)
    for number in range(6):
        value = json.dumps(event).encode()
        writer.append([NewRecord(PROMPTS, value, 1_700_000_000_000 + number, partition=0)])
    run(settings)
    segment_path(settings.log_dir, PLACE, 0).unlink()
    return settings, event["eventId"]


def test_a_duplicate_of_what_has_expired_is_looked_for_in_every_store(
    repeated: tuple[Settings, str],
) -> None:
    settings, victim = repeated
    report = prove(settings)
    assert report.codes["duplicate"] == {"first_expired": 5}
    assert change(settings, "DELETE FROM timeseries_point WHERE id = ?", victim) == 1
    report = prove(settings)
    assert {code for _, code in listed(report)} == {"first_absent_timeseries"}
    assert report.unaccounted == 5


@pytest.mark.parametrize("place", [("offset", 4_711), ("partition", 11), ("topic", "llm.other")])
def test_a_record_from_nowhere_accounts_for_nothing(tmp_path: Path, place: tuple[str, Any]) -> None:
    """Stores that name coordinates where the log never had anything."""
    settings = load_settings(data=tmp_path)
    (event,) = several(settings, 1)
    run(settings)
    assert prove(settings).ok
    for table in TABLES.values():
        assert move(settings, table, event["eventId"], *place) == 1
    assert listed(prove(settings)) == [(0, "first_missing")]


def move(settings: Settings, table: str, event: str, column: str, value: Any) -> int:
    return change(settings, f'UPDATE {table} SET "{column}" = ? WHERE id = ?', value, event)


@pytest.mark.parametrize("store", [s for s in STORES if s != "vector"])
def test_a_record_that_is_erased_and_still_there_is_noticed(tmp_path: Path, store: Store) -> None:
    settings = load_settings(data=tmp_path)
    (event,) = several(settings, 1)
    run(settings)
    change(settings, f"INSERT INTO {store}_tombstone (kind, id) VALUES ('prompt', ?)",
           event["eventId"])  # fmt: skip
    assert listed(prove(settings)) == [(0, f"remains_{store}")]


@pytest.mark.parametrize("store", STORES)
def test_what_may_come_back_to_one_store_is_not_erased(tmp_path: Path, store: Store) -> None:
    settings = load_settings(data=tmp_path)
    erase(settings, *STORES)
    assert prove(settings).ok
    assert change(settings, f"DELETE FROM {store}_tombstone") == 1
    called_for = store in ("graph", "search")
    assert codes(prove(settings)) == {f"absent_{store}" if called_for else "partly_erased"}


def test_a_version_that_is_too_low_in_every_store_is_found_by_deriving_it(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    prompt, response = pair(1)
    append(settings, prompt, response)
    run(settings)
    for table in TABLES.values():
        assert change(settings, f"UPDATE {table} SET version = version - 1 WHERE kind = 'response'")
    assert prove(settings).ok
    assert codes(prove(settings, deep=True)) == {"stale_graph,stale_timeseries,stale_search"}


def test_what_is_on_its_way_at_that_moment_is_looked_at_again(tmp_path: Path) -> None:
    """A worker writes one store after the other: a record may be half there while it is proved."""
    settings, events = filled(tmp_path, 60)
    run(settings)
    victim = next(e for e in events if "prompt" in e)["eventId"]
    change(settings, "CREATE TABLE aside AS SELECT * FROM timeseries_point WHERE id = ?", victim)
    assert change(settings, "DELETE FROM timeseries_point WHERE id = ?", victim) == 1
    put_back: list[int] = []

    def progress(_: Report) -> None:
        if not put_back:
            put_back.append(change(settings, "INSERT INTO timeseries_point SELECT * FROM aside"))

    report = prove(settings, progress=progress)
    assert put_back == [1]
    assert report.ok, report.exceptions


def test_batches_are_bounded_in_bytes(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    writer = LogWriter(settings.log_dir, 1 << 30)
    large = b'"' + b"x" * (3 << 20) + b'"'
    writer.append([NewRecord(PROMPTS, large, 1, partition=0) for _ in range(12)])

    class Offsets:
        def load(self) -> dict[Partition, Any]:
            return {}

    view = FileLogView(settings.log_dir, Offsets())  # type: ignore[arg-type]
    batches = list(view.read(PLACE, 0, 12))
    assert sum(len(batch) for batch in batches) == 12
    assert max(size(batch) for batch in batches) <= 16 << 20
    assert max(size(batch) for batch in full(iter(batches))) <= 16 << 20


def size(records: Sequence[LogRecord]) -> int:
    return sum(record.original.size for record in records)


def full(batches: Iterator[Sequence[LogRecord]]) -> list[list[LogRecord]]:
    from flows.prove.run import _full

    return list(_full(batches))


def test_a_range_behind_the_end_is_not_called_proved(tmp_path: Path) -> None:
    settings, _ = filled(tmp_path, 4)
    run(settings)
    report = prove(settings, first=1_000, end=2_000)
    assert report.offsets == 0
    assert all(span.first <= span.end for span in report.ranges)
