"""The contract of :class:`schemas.chunk.Stage`, for every stage there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.chunk import Chunk, Outcome
from schemas.failures import Rejected
from schemas.items import Decoded, Embedded, Enriched, Measured
from schemas.log import LogRecord, Origin, Partition
from schemas.records import Mutation
from sinks.sqlite.database import Database
from tests.conformance.discovery import label, stage_classes
from tests.conformance.events import TIME_MS, log
from tests.conformance.factories import STAGES

PARTITION = Partition("llm.prompts.v1", 0)
Make = Callable[[type], Any]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes stages, each on a database of its own."""
    opened: list[Database] = []

    def fresh(stage: type) -> Any:
        opened.append(Database.open(tmp_path / f"{len(opened)}.db"))
        return STAGES[stage].make(opened[-1])

    yield fresh
    for database in opened:
        database.close()


@pytest.fixture(params=stage_classes(), ids=label)
def stage(request: pytest.FixtureRequest) -> type:
    found: type = request.param
    return found


@pytest.fixture
def items(stage: type, make: Make) -> Sequence[Any]:
    """What reaches the stage of the sample."""
    passed: Sequence[Any] = log()
    for earlier in STAGES:
        if earlier is stage:
            break
        passed = make(earlier)(chunk(passed)).passed.items
    assert len(passed) > 5
    return passed


def chunk(items: Sequence[Any]) -> Chunk[Any]:
    return Chunk(PARTITION, tuple(items), TIME_MS)


def origin(item: Any) -> Origin:
    match item:
        case LogRecord() | Decoded() | Rejected():
            return item.origin
        case Measured():
            return item.decoded.origin
        case Embedded() | Enriched() | Mutation():
            return item.event.origin
    raise AssertionError(type(item))


def version(item: Any) -> int:
    match item:
        case Enriched():
            return item.version
        case Mutation():
            return item.graph.stamp.version
    return 0


def final(outcomes: Sequence[Outcome[Any]]) -> dict[Origin, Any]:
    """What the outcomes leave of each event: the highest version, the later of equals."""
    left: dict[Origin, Any] = {}
    for outcome in outcomes:
        for item in outcome.passed.items:
            if isinstance(item, Enriched):
                # One that waited in the join store comes without its bytes.
                item = msgspec.structs.replace(item, original=None)
            there = left.get(origin(item))
            if there is None or version(item) >= version(there):
                left[origin(item)] = item
    return left


def test_every_stage_has_a_factory_and_a_name_of_its_own(make: Make) -> None:
    found = stage_classes()
    assert {label(one) for one in found} == {label(one) for one in STAGES}
    names = [make(one).name for one in STAGES]
    assert names == ["validate", "dedupe", "text", "pii", "embed", "lookup", "extract"]


def test_an_empty_chunk_is_nothing(stage: type, make: Make) -> None:
    empty = chunk(())
    outcome = make(stage)(empty)
    assert list(outcome.passed.items) == []
    assert outcome.passed.partition == PARTITION
    assert outcome.passed.log_time == TIME_MS
    assert not outcome.rejected
    assert outcome.duplicates == 0


def test_no_event_is_lost_and_order_is_kept(stage: type, make: Make, items: Sequence[Any]) -> None:
    outcome = make(stage)(chunk(items))
    assert outcome.passed.partition == PARTITION
    assert outcome.passed.log_time == TIME_MS
    came = [origin(item) for item in items]
    passed = [origin(item) for item in outcome.passed.items]
    rejected = [item.origin for item in outcome.rejected]
    assert not set(passed) & set(rejected)
    assert set(passed) | set(rejected) <= set(came)
    assert len(passed) + len(rejected) + outcome.duplicates == len(came)
    assert passed == [one for one in came if one in set(passed)]
    assert rejected == [one for one in came if one in set(rejected)]


def test_a_rejection_says_who_and_why_and_nothing_of_the_value(
    stage: type, make: Make, items: Sequence[Any]
) -> None:
    made = make(stage)
    for rejection in made(chunk(items)).rejected:
        assert rejection.stage == made.name
        assert rejection.code.isidentifier()
        assert rejection.code.islower()
        assert rejection.detail.path.startswith("$")
        assert rejection.original is not None
        assert "example.org" not in repr(rejection)


def test_the_input_is_left_as_it_is(stage: type, make: Make, items: Sequence[Any]) -> None:
    given = chunk(items)
    before, identities = repr(given), [id(item) for item in given.items]
    make(stage)(given)
    assert repr(given) == before
    assert [id(item) for item in given.items] == identities


def test_a_chunk_is_what_its_events_are_one_by_one(
    stage: type, make: Make, items: Sequence[Any]
) -> None:
    together = make(stage)(chunk(items))
    single = make(stage)
    apart = [single(chunk([item])) for item in items]
    assert final([together]) == final(apart)
    assert together.rejected == tuple(one for outcome in apart for one in outcome.rejected)
    assert together.duplicates == sum(outcome.duplicates for outcome in apart)
    if not STAGES[stage].brings:
        assert sum(len(outcome.passed.items) for outcome in apart) == len(together.passed.items)


def test_a_chunk_run_again_gives_the_same(stage: type, make: Make, items: Sequence[Any]) -> None:
    made = make(stage)
    first = made(chunk(items))
    again = made(chunk(items))
    assert final([first]) == final([again])
    assert first.rejected == again.rejected
    assert first.duplicates == again.duplicates


def test_two_stages_agree(stage: type, make: Make, items: Sequence[Any]) -> None:
    assert final([make(stage)(chunk(items))]) == final([make(stage)(chunk(items))])
