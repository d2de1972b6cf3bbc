"""What ``status`` says a partition waits for, and its alerts."""

from __future__ import annotations

from typing import Any

from flows.health import Health
from flows.settings import load_settings
from flows.views.status import _alerts, _waits_for
from schemas.log import Partition

P0 = Partition("llm.prompts.v1", 0)


def health(**more: Any) -> Health:
    return Health(pid=1, time=0.0, events=9, rate=1.0, troubles={},
                  **{"alert": False, "rejected_share": 0.0, **more})  # fmt: skip


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
