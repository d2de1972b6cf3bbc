"""Ranges of the log, read again under a group of their own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from confluent_kafka.admin import AdminClient

from flows.kafka.replay import Mark, parse_mark, replaying
from schemas.failures import UserError
from schemas.log import Partition
from tests.flows.kafka.world import PROMPTS, RESPONSES, World, delete_before, drain

BASE = 1_700_000_000_000


def replayed(world: World, start: Mark, end: Mark | None = None, **topics: object) -> list[int]:
    """Log times of what a replay reads."""
    with replaying(world.settings, start, end, **topics) as (settings, span):  # type: ignore[arg-type]
        chunks = drain(world.part(settings=settings, span=span))
    return sorted(r.origin.timestamp - BASE for c in chunks for r in c.items)


@pytest.fixture
def log(world: World) -> World:
    world.produce(PROMPTS, 0, *range(BASE, BASE + 100, 10))
    world.produce(PROMPTS, 2, *range(BASE + 5, BASE + 100, 10))
    world.produce(RESPONSES, 1, *range(BASE + 1, BASE + 100, 20))
    return world


def test_a_range_of_time_is_read_from_every_partition(log: World) -> None:
    assert replayed(log, BASE + 70, BASE + 90) == [70, 75, 80, 81, 85]
    assert replayed(log, BASE + 90) == [90, 95]
    assert replayed(log, BASE + 1_000) == []


def test_a_range_of_offsets_is_read_from_what_it_names(log: World) -> None:
    start = {Partition(PROMPTS, 0): 8, Partition(RESPONSES, 1): 3}
    assert replayed(log, start) == [61, 80, 81, 90]
    assert replayed(log, {Partition(PROMPTS, 0): 2}, {Partition(PROMPTS, 0): 4}) == [20, 30]


def test_only_the_topics_asked_for_are_read(log: World) -> None:
    assert replayed(log, BASE + 70, topics=(RESPONSES,)) == [81]
    with pytest.raises(UserError, match=r"llm.sessions.v1"):
        replayed(log, BASE, topics=("llm.prompts",))


def test_the_worker_keeps_its_offsets_and_the_group_goes(log: World) -> None:
    drain(log.part())
    before = log.committed()
    replayed(log, BASE)
    assert log.committed() == before
    admin = AdminClient({"bootstrap.servers": log.settings.bootstrap_servers})
    groups = {g.group_id for g in admin.list_consumer_groups().result().valid}
    assert not {g for g in groups if g.startswith(f"{log.settings.group}-replay")}


def test_what_the_log_no_longer_has_cannot_be_named(log: World) -> None:
    delete_before(log.settings, PROMPTS, 0, 5)
    for offset in (4, 11):
        with pytest.raises(UserError, match=r"llm.prompts.v1:0 holds offsets 5 to 9 only"):
            replayed(log, {Partition(PROMPTS, 0): offset})
    with pytest.raises(UserError, match=r"no partition llm.prompts.v1:77"):
        replayed(log, {Partition(PROMPTS, 77): 0})
    assert replayed(log, BASE, topics=(PROMPTS,))[:3] == [5, 15, 25]


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("1970-01-01T00:00:01.5Z", 1_500),
        ("1970-01-01T01:00:00+01:00", 0),
        ("llm.prompts.v1:3=12", {Partition(PROMPTS, 3): 12}),
        (
            "llm.prompts.v1:3=12, llm.responses.v1:0=0",
            {Partition(PROMPTS, 3): 12, Partition(RESPONSES, 0): 0},
        ),
    ],
)
def test_places_in_the_log_are_times_or_offsets(
    text: str, mark: int | Mapping[Partition, int]
) -> None:
    assert parse_mark(text) == mark


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-31T12:00:00",
        "llm.prompts.v1:x=1",
        "other:0=1",
        "llm.prompts.v1:0=-1",
    ],
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"expected|a time with its zone"):
        parse_mark(text)
