"""The statistics of a run: what is counted, and the alert."""

from __future__ import annotations

from typing import Any

from flows.stats import RunStats, Usage
from flows.window import RejectedWindow
from schemas.chunk import Chunk, Outcome
from schemas.failures import Rejected
from schemas.items import (
    Cost,
    Embedded,
    Enriched,
    Finding,
    ModelRef,
    Screened,
    ScreenedResponse,
    TextFacts,
    UsageFacts,
    UserFacts,
)
from schemas.log import Origin, Partition

P0 = Partition("llm.responses.v1", 0)
ORIGIN = Origin("llm.responses.v1", 0, 0, 0)


def outcome(items: list[Any], rejected: int = 0, duplicates: int = 0) -> Outcome[Any]:
    letters = tuple(Rejected("validate", "not_json", ORIGIN) for _ in range(rejected))
    return Outcome(Chunk(P0, items), letters, duplicates)


def response(number: int, state: str, cost: Cost, tenant: str | None = "acme") -> Enriched:
    event = ScreenedResponse(
        id=f"r-{number}",
        time=0,
        origin=ORIGIN,
        facts=TextFacts(),
        findings=(Finding("EMAIL_ADDRESS", "redact", 2),),
        prompt_id="p",
        usage=UsageFacts(10, 5, 15),
    )
    model = ModelRef(Screened("m")) if state == "complete" else None
    user = UserFacts(tenant, None, True)
    return Enriched(event, state, 1, None, user, model, cost=cost)


def test_events_duplicates_and_rejections_are_counted() -> None:
    stats = RunStats()
    stats.stage("validate", 10, outcome([], rejected=2), 0.1)
    stats.stage("dedupe", 8, outcome([], duplicates=3), 0.1)
    stats.written("graph", "written", 5)
    summary = stats.summary(lag=7)
    assert (summary.events, summary.topics) == (10, {"llm.responses.v1": 10})
    assert (summary.duplicates, summary.rejected) == (3, {("validate", "not_json"): 2})
    assert summary.written["graph"] == {"written": 5}
    assert summary.lag == 7


def test_findings_are_summed_by_entity_and_action() -> None:
    stats = RunStats()
    items = [Embedded(response(n, "complete", Cost("none")).event) for n in range(3)]
    stats.stage("pii", 3, outcome(items), 0.1)
    assert stats.summary().findings == {("EMAIL_ADDRESS", "redact"): 6}


def test_tokens_and_cost_are_those_of_responses_that_wait_no_more() -> None:
    stats = RunStats()
    priced = Cost("priced", 1_000)
    items = [
        response(1, "complete", priced),
        response(2, "complete", Cost("unpriced")),
        response(3, "waiting", Cost("none")),
    ]
    stats.stage("lookup", 3, outcome(items), 0.1)
    assert stats.summary().usage == [Usage("acme", "m", 2, 20, 10, 1_000, 1)]


def test_an_orphan_that_is_completed_later_counts_once() -> None:
    stats = RunStats()
    stats.stage("lookup", 0, outcome([response(1, "orphan", Cost("unpriced"), None)]), 0.1)
    assert stats.summary().usage == [Usage("_", "_", 1, 10, 5, 0, 1)]
    assert stats.summary().orphans == 1
    stats.stage("lookup", 1, outcome([response(1, "complete", Cost("priced", 9))]), 0.1)
    assert stats.summary().usage == [Usage("acme", "m", 1, 10, 5, 9, 0)]
    assert stats.summary().orphans == 0


def test_the_alert_follows_the_share_of_the_last_events() -> None:
    stats = RunStats(window=100, share=0.01)
    stats.stage("validate", 100, outcome([], rejected=1), 0.1)
    assert not stats.summary().alert
    stats.stage("validate", 100, outcome([], rejected=2), 0.1)
    assert stats.summary().alert
    for _ in range(3):
        stats.stage("validate", 100, outcome([]), 0.1)
    assert not stats.summary().alert
    assert stats.summary().rejected == {("validate", "not_json"): 3}


def test_events_that_kill_the_process_raise_the_alert() -> None:
    stats = RunStats(window=100, share=0.01)
    stats.screened_out([Rejected("pii", "process_killed", ORIGIN)] * 3)
    assert stats.summary().alert


def test_the_window_counts_events_however_they_are_cut_into_chunks() -> None:
    for chunk in (1, 7, 100):
        window = RejectedWindow(500, 0.01)
        for number in range(0, 700, chunk):
            window.arrived(chunk)
            if number == 0:
                window.rejected(6)
            if number < 400:
                assert window.alert
        assert window.share == 0.0


def test_the_first_bad_event_of_a_run_is_no_alert() -> None:
    window = RejectedWindow(1_000, 0.01)
    window.arrived(1)
    window.rejected(1)
    assert not window.alert
    window.rejected(1)
    assert window.alert


def test_what_was_rejected_goes_out_of_the_window_with_time() -> None:
    now = [0.0]
    window = RejectedWindow(1_000, 0.01, seconds=60, clock=lambda: now[0])
    window.arrived(100)
    window.rejected(50)
    now[0] = 30.0
    window.arrived(100)
    assert window.share == 0.25
    now[0] = 61.0
    assert not window.alert
    now[0] = 1_000.0
    assert window.share == 0.0
