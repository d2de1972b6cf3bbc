"""The rule of joins, in every store that keeps them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas.ports import Joins, Waiting
from tests.sinks.state import response, side

Open = Callable[[], Joins]


def ids(found: list[Waiting]) -> list[str]:
    return [waiting.response.event.id for waiting in found]


def test_the_prompt_first(open_joins: Open) -> None:
    joins = open_joins()
    assert joins.add_prompts([(side("p"), 0)]) == {"p": ()}
    assert joins.add_responses([response("r", "p")]) == {"r": (side("p"), False)}


@pytest.mark.parametrize("flush", [False, True])
def test_the_responses_first(open_joins: Open, flush: bool) -> None:
    joins = open_joins()
    waiting = [response("r1", "p"), response("r2", "p"), response("r3", "q")]
    assert set(joins.add_responses(waiting).values()) == {(None, False)}
    if flush:
        joins.flush()
    assert joins.add_prompts([(side("p"), 0)]) == {"p": tuple(waiting[:2])}
    assert joins.add_responses([waiting[0]]) == {"r1": (side("p"), False)}


def test_calls_may_be_empty_or_large(open_joins: Open) -> None:
    joins = open_joins()
    assert dict(joins.add_prompts([])) == {}
    assert dict(joins.add_responses([])) == {}
    waiting = [response(f"r{n}", f"p{n // 2}") for n in range(2_400)]
    assert len(joins.add_responses(waiting)) == 2_400
    met = joins.add_prompts([(side(f"p{n}"), 0) for n in range(1_300)])
    assert sum(len(found) for found in met.values()) == 2_400
    assert len(met) == 1_300


def test_the_original_bytes_are_never_answered(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_responses([response("r", "p", original=True)])
    assert joins.add_prompts([(side("p"), 0)])["p"] == (response("r", "p"),)


def test_a_side_that_knows_less_does_not_replace_one_that_knows_more(open_joins: Open) -> None:
    joins = open_joins()
    for known in (False, True, False):
        joins.add_prompts([(side("p", known=known), 0)])
    assert joins.add_responses([response("r", "p")])["r"] == (side("p"), False)
    joins.flush()
    assert open_joins().add_responses([response("r", "p")])["r"] == (side("p"), False)


def test_overdue_is_told_once_a_run_oldest_first_and_within_the_limit(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_responses([response(f"r{n}", f"p{n}", log_time=10 - n) for n in range(5)])
    joins.add_prompts([(side("p4"), 0)])
    assert joins.overdue(7, 10) == ()
    assert ids(list(joins.overdue(10, 2))) == ["r3", "r2"]
    late = joins.overdue(10, 2)
    assert [(w.response.event.id, w.orphan) for w in late] == [("r1", True)]
    assert joins.overdue(10, 2) == ()
    assert joins.add_responses([response("r1", "p1", 9)]) == {"r1": (None, True)}
    assert [w.orphan for w in joins.add_prompts([(side("p1"), 99)])["p1"]] == [True]


def test_orphans_are_told_again_by_the_next_run_until_confirmed(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_responses([response(f"r{n}", "p", n) for n in range(4)])
    assert len(joins.overdue(2, 10)) == 2
    sealed = joins.seal()
    assert len(joins.overdue(3, 10)) == 1
    joins.confirm(sealed)
    joins.flush()
    again = open_joins()
    assert ids(list(again.overdue(0, 10))) == ["r2"]
    assert ids(list(again.overdue(9, 10))) == ["r3"]
    again.confirm(again.seal())
    again.flush()
    assert open_joins().overdue(9, 10) == ()


def test_what_was_not_heard_is_told_again_and_not_confirmed(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_responses([response(f"r{n}", "p", n) for n in range(4)])
    assert ids(list(joins.overdue(2, 10))) == ["r0", "r1"]
    assert ids(list(joins.overdue(9, 10))) == ["r2", "r3"]
    joins.unheard()
    joins.confirm(joins.seal())
    joins.flush()
    assert ids(list(open_joins().overdue(0, 10)))[-2:] == ["r2", "r3"]


def test_what_was_not_heard_is_told_again_in_the_same_run(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_responses([response(f"r{n}", "p", n) for n in range(3)])
    assert len(joins.overdue(9, 10)) == 3
    joins.unheard()
    found = [joins.overdue(9, 2), joins.overdue(9, 2), joins.overdue(9, 2)]
    assert [ids(list(told)) for told in found] == [["r0", "r1"], ["r2"], []]
    joins.confirm(joins.seal())
    joins.flush()
    assert open_joins().overdue(9, 10) == ()


def test_orphans_of_an_earlier_run_come_within_the_limit_too(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_responses([response(f"r{n}", "p", n) for n in range(5)])
    assert len(joins.overdue(9, 10)) == 5
    joins.flush()
    again = open_joins()
    told = [again.overdue(0, 2) for _ in range(4)]
    assert [len(found) for found in told] == [2, 2, 1, 0]
    assert len({id_ for found in told for id_ in ids(list(found))}) == 5


def test_expired_rows_are_not_seen(open_joins: Open) -> None:
    joins = open_joins()
    joins.add_prompts([(side("old"), 10), (side("new"), 20)])
    joins.add_responses([response("r1", "a", 10), response("r2", "b", 20)])
    joins.flush()
    fresh = open_joins()
    fresh.expire(15)
    assert fresh.add_responses([response("r3", "old", 30), response("r4", "new", 30)]) == {
        "r3": (None, False),
        "r4": (side("new"), False),
    }
    assert fresh.add_prompts([(side("a"), 30)]) == {"a": ()}
    assert len(fresh.add_prompts([(side("b"), 30)])["b"]) == 1
