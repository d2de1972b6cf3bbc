"""What ``status`` says a partition waits for, and its alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.health import Health
from flows.settings import load_settings
from flows.views.status import _alerts, _waits_for, _worker, status_of
from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.sqlite.deadletters import SqliteDeadLetters
from sinks.sqlite.parking import SqliteParking
from sinks.sqlite.requests import SqliteRequests
from tests.flows.test_worker import filled, run

P0 = Partition("llm.prompts.v1", 0)


def health(**more: Any) -> Health:
    return Health(pid=1, events=9, rate=1.0, troubles={},
                  **{"time": 0.0, "alert": False, "rejected_share": 0.0, **more})  # fmt: skip


def test_a_store_that_is_down_holds_up_no_partition() -> None:
    assert _waits_for(P0, 5, 1, {}, {"graph": "refused"}).startswith("its turn")
    assert _waits_for(P0, 5, 1, {"database": "full"}, {"database": "full"}) == "database (full)"
    assert _waits_for(P0, 0, None, {}, {}) == ""
    assert _waits_for(P0, 5, None, {}, {}).startswith("a worker")


def test_a_gap_holds_up_its_own_partition_alone() -> None:
    troubles = {"partition llm.prompts.v1:0": "offset_gap"}
    assert "offset_gap" in _waits_for(P0, 5, 1, {}, troubles)
    assert _waits_for(Partition("llm.prompts.v1", 1), 5, 1, {}, troubles).startswith("its turn")


def test_what_the_worker_raises_alerts_for_is_shown() -> None:
    settings = load_settings()
    assert _alerts({}, 100, settings, {}, health()) == []
    (rejected,) = _alerts({}, 100, settings, {}, health(alert=True, rejected_share=0.02))
    assert "2.0% of the last events" in rejected
    (loop,) = _alerts({}, 100, settings, {}, health(alerts=["crash_loop"]))
    assert "again and again" in loop
    assert _alerts({}, 0, settings, {"graph": "refused"}, None) == ["graph does not work (refused)"]


class Bus:
    """A log that does not answer."""

    def ends(self) -> dict[Partition, int]:
        raise Unavailable("kafka", "timed_out")

    committed = ends

    def close(self) -> None:
        """Holds nothing open."""


def test_what_is_known_is_shown_while_kafka_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked when something is down: the rest of the answer must not go with it."""
    settings, _ = filled(tmp_path, 4)
    run(settings)
    monkeypatch.setattr("flows.views.status.open_bus", lambda *_: Bus())
    found = status_of(settings)
    assert found.partitions == []
    assert found.alerts == ["kafka does not work (timed_out)"]
    assert [count for _, count, _ in found.stores if count]


def test_queues_that_do_not_answer_are_named_and_the_rest_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = filled(tmp_path, 4)
    run(settings)

    def down(_: object) -> Any:
        raise Unavailable("kafka", "refused")

    monkeypatch.setattr(SqliteParking, "backlog", down)
    monkeypatch.setattr(SqliteDeadLetters, "counts", down)
    monkeypatch.setattr(SqliteRequests, "backlog", down)
    found = status_of(settings)
    assert found.alerts == ["kafka does not work (refused)"]
    assert [parked for _, _, parked in found.stores] == [None] * 4
    assert found.lacking is None
    assert found.partitions


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (health(time=95.0), "running (process 7)"),
        (health(time=95.0, status="starting"), "running (process 7): starting"),
        (health(time=95.0, status="stuck", silent=301.0), "running (process 7): stuck"),
        (health(time=30.0), "running (process 7): it has said nothing for 70 s"),
        (None, "running (process 7): it has not said anything yet"),
    ],
)
def test_a_worker_that_runs_is_not_all_there_is_to_say(told: Health | None, shown: str) -> None:
    assert _worker(7, told, now=100.0) == shown
    assert _worker(None, told, now=100.0) == "not running"
