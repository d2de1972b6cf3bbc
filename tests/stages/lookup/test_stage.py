from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from schemas.chunk import Chunk
from schemas.items import Enriched, ModelFacts, ModelRef, Screened, UserFacts
from schemas.log import Partition
from schemas.ports import ModelEntry, Price, Unavailable
from stages.lookup import LookupSettings, LookupStage
from tests.stages.memory_joins import MemoryJoins
from tests.stages.screened import (
    DAY_MS,
    GPT,
    T0_MS,
    embedded,
    origin,
    prompt,
    response,
    session,
    session_event,
    uuid,
)

ACME = UserFacts("acme", "Acme Ltd", True)
GLOBEX = UserFacts("globex", None, True)
PRICE = Price("list-1", "2026-01-01", 2_500_000, 10_000_000)


class Registry:
    def __init__(self) -> None:
        self.down = False

    def lookup(
        self, models: Sequence[tuple[str, str | None, int]], /
    ) -> Sequence[ModelEntry | None]:
        if self.down:
            raise Unavailable("registry", "down")
        facts = {
            "gpt-4o": ModelEntry(ModelFacts("gpt-4o", "openai"), PRICE),
            "mini": ModelEntry(ModelFacts("mini", "openai"), None),
        }
        return [facts.get(name) for name, _, _ in models]


class Directory:
    """u1 belongs to acme, u2 to globex; nobody knows the others."""

    def __init__(self) -> None:
        self.down = False

    def lookup(self, users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
        if self.down:
            raise Unavailable("directory", "down")
        return [{"u1": ACME, "u2": GLOBEX}.get(user, UserFacts()) for user, _ in users]


class World:
    def __init__(self, **settings: Any) -> None:
        self.registry, self.directory, self.joins = Registry(), Directory(), MemoryJoins()
        self.stage = LookupStage(
            self.registry, self.directory, self.joins, LookupSettings(**settings)
        )

    def run(self, *events: Any, log_time: int = T0_MS, vector: bool = True) -> list[Enriched]:
        items = [embedded(event, vector=vector) for event in events]
        chunk = Chunk(Partition("llm.prompts.v1", 0), items, log_time)
        outcome = self.stage(chunk)
        assert not outcome.rejected
        return list(outcome.passed.items)


@pytest.fixture
def world() -> World:
    return World()


def states(found: list[Enriched]) -> list[tuple[str, str, int]]:
    return [(item.event.id, item.state, item.version) for item in found]


def test_prompts_and_session_events_are_complete_at_once(world: World) -> None:
    first, second = world.run(prompt(1), session_event(2))
    assert (first.state, first.user, first.model) == ("complete", ACME, GPT)
    assert first.registry == ModelFacts("gpt-4o", "openai")
    assert first.cost.status == "none"
    assert first.version == 4
    assert (second.state, second.user, second.version) == ("complete", ACME, 2)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_pair_in_one_chunk_is_complete_in_either_order(
    world: World, order: tuple[int, int]
) -> None:
    events = {1: prompt(1), 2: response(2, 1)}
    found = {item.event.id: item for item in world.run(*(events[n] for n in order))}
    assert len(found) == 2
    answer = found[uuid(2)]
    assert (answer.state, answer.user, answer.version) == ("complete", ACME, 6)
    assert answer.session == session()
    assert answer.model == GPT
    # 100 x 2.5e6 + 20 x 10e6
    assert (answer.cost.status, answer.cost.pico_usd) == ("priced", 450_000_000)
    assert answer.cost.price_version == "list-1"


def test_the_prompt_first(world: World) -> None:
    world.run(prompt(1))
    (answer,) = world.run(response(2, 1))
    assert answer.state == "complete"


def test_the_response_first_waits_and_comes_out_with_its_prompt(world: World) -> None:
    (waiting,) = world.run(response(2, 1))
    assert (waiting.state, waiting.version) == ("waiting", 2)
    assert (waiting.session, waiting.model, waiting.user) == (None, None, UserFacts())
    assert waiting.cost.status == "lacking"
    question, answer = world.run(prompt(1))
    assert question.event.id == uuid(1)
    assert (answer.event.id, answer.state, answer.user) == (uuid(2), "complete", ACME)
    assert answer.version > waiting.version
    assert answer.event.origin == waiting.event.origin
    assert answer.vector == waiting.vector is not None


def test_a_completed_record_is_the_same_whichever_came_first() -> None:
    straight, late = World(), World()
    (_, first) = straight.run(prompt(1), response(2, 1))
    late.run(response(2, 1))
    (_, second) = late.run(prompt(1))
    assert first == second


def test_one_prompt_completes_all_its_responses(world: World) -> None:
    world.run(response(2, 1), response(3, 1), response(4, 9))
    found = world.run(prompt(1), response(5, 1))
    assert [i for i, state, _ in states(found) if state == "complete"] == [
        uuid(1),
        uuid(5),
        uuid(2),
        uuid(3),
    ]
    assert len(found) == 4


def test_a_response_that_has_its_prompts_id_is_another_record(world: World) -> None:
    found = world.run(prompt(1), response(1, 1))
    assert [type(item.event).__name__ for item in found] == ["ScreenedPrompt", "ScreenedResponse"]
    assert [item.state for item in found] == ["complete", "complete"]


def test_replays_come_out_the_same(world: World) -> None:
    first = world.run(prompt(1), response(2, 1))
    assert world.run(prompt(1), response(2, 1)) == first


class TestWhereBothSidesSpeak:
    def own(self) -> Any:
        own = session("s2", "u2", None, "completion")
        return response(2, 1, session=own, model=ModelRef(Screened("mini")))

    def test_the_prompts_session_and_model_win(self, world: World) -> None:
        _, answer = world.run(prompt(1), self.own())
        assert (answer.session, answer.user, answer.model) == (session(), ACME, GPT)
        assert answer.cost.pico_usd == 450_000_000

    def test_what_the_response_said_itself_is_kept_apart(self, world: World) -> None:
        (before,) = world.run(self.own())
        _, after = world.run(prompt(1))
        for answer in (before, after):
            assert (answer.own_user, answer.own_registry) == (
                GLOBEX,
                ModelFacts("mini", "openai"),
            )
        assert (before.user, after.user) == (GLOBEX, ACME)
        assert before.cost.status == "unpriced"


class TestOrphans:
    AFTER = T0_MS + DAY_MS + 100

    def test_nothing_is_due_before_its_time(self, world: World) -> None:
        world.run(response(2, 1, origin=origin(2, log_ms=T0_MS)))
        assert world.run(log_time=T0_MS + DAY_MS) == []
        (orphan,) = world.run(log_time=T0_MS + DAY_MS + 1)
        assert (orphan.state, orphan.version, orphan.cost.status) == ("orphan", 3, "unpriced")

    def test_an_orphan_comes_once(self, world: World) -> None:
        world.run(response(2, 1))
        assert len(world.run(log_time=self.AFTER)) == 1
        assert world.run(log_time=self.AFTER + DAY_MS) == []

    def test_an_orphan_keeps_what_it_has(self, world: World) -> None:
        own = response(2, 1, session=session("s2", "u2"), model=GPT)
        world.run(own)
        (orphan,) = world.run(log_time=self.AFTER)
        assert (orphan.session, orphan.user, orphan.model) == (own.session, GLOBEX, GPT)
        assert orphan.cost.pico_usd == 450_000_000

    def test_a_late_prompt_completes_an_orphan(self, world: World) -> None:
        world.run(response(2, 1))
        (orphan,) = world.run(log_time=self.AFTER)
        _, answer = world.run(prompt(1), log_time=self.AFTER)
        assert (answer.state, answer.user) == ("complete", ACME)
        assert answer.version > orphan.version

    def test_a_prompt_in_the_chunk_that_is_due_completes(self, world: World) -> None:
        world.run(response(2, 1))
        found = world.run(prompt(1), log_time=self.AFTER)
        assert [state for _, state, _ in states(found)] == ["complete", "complete"]

    def test_a_response_that_comes_too_late_is_an_orphan_at_once(self, world: World) -> None:
        (answer,) = world.run(response(2, 1), log_time=self.AFTER)
        assert answer.state == "orphan"

    def test_a_replayed_orphan_is_still_one(self, world: World) -> None:
        world.run(response(2, 1))
        (orphan,) = world.run(log_time=self.AFTER)
        (again,) = world.run(response(2, 1), log_time=self.AFTER)
        assert again == orphan

    def test_many_come_a_few_at_a_time(self) -> None:
        world = World(orphans_per_chunk=4)
        world.run(*(response(n, 1_000 + n) for n in range(10)))
        sizes = []
        while found := world.run(log_time=self.AFTER):
            sizes.append(len(found))
        assert sizes == [4, 4, 2]

    def test_completion_outranks_an_orphan_made_without_the_join_row(self, world: World) -> None:
        _, answer = world.run(prompt(1), response(2, 1))
        forgetful = World()
        forgetful.run(response(2, 1))
        (orphan,) = forgetful.run(log_time=self.AFTER)
        assert answer.version > orphan.version


class TestOrphansOfACallThatFails:
    AFTER = T0_MS + DAY_MS + 100

    def test_they_come_with_the_chunk_all_the_same(self, world: World) -> None:
        """The lookup raises once, after the join store has told of the orphans."""
        world.run(response(2, 1), response(4, 3))
        fail(world, times=1)
        found = world.run(prompt(9), log_time=self.AFTER)
        assert [(item.event.id, item.state) for item in found] == [(uuid(9), "complete")]
        found = [*world.run(log_time=self.AFTER), *world.run(log_time=self.AFTER)]
        assert [item.state for item in found] == ["orphan", "orphan"]
        assert world.run(log_time=self.AFTER) == []

    def test_an_event_that_fails_by_itself_takes_none_along(self, world: World) -> None:
        world.run(response(2, 1))
        fail(world, times=2)
        with pytest.raises(RuntimeError):
            world.run(prompt(9), log_time=self.AFTER)
        assert [item.state for item in world.run(log_time=self.AFTER)] == ["orphan"]

    def test_one_that_can_never_pass_costs_no_event_and_no_other_orphan(self, world: World) -> None:
        own = response(2, 1, session=session("s2", "poison"), model=GPT)
        world.run(own, response(4, 3), response(6, 5))
        lookup = world.directory.lookup

        def poisoned(users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
            if any(user == "poison" for user, _ in users):
                raise RuntimeError
            return lookup(users)

        world.directory.lookup = poisoned  # type: ignore[method-assign]
        states = []
        for n in range(20, 30):
            first, *others = world.run(prompt(n), log_time=self.AFTER)
            assert first.event.id == uuid(n)
            states += [(item.event.id, item.state) for item in others]
        assert sorted(states) == [(uuid(4), "orphan"), (uuid(6), "orphan")]

    def test_one_that_takes_too_long_is_told_of_again(self, world: World) -> None:
        class OverBudget(BaseException):
            pass

        world.run(response(2, 1))
        fail(world, times=1, error=OverBudget)
        with pytest.raises(OverBudget):
            world.run(prompt(9), log_time=self.AFTER)
        assert [item.state for item in world.run(log_time=self.AFTER)] == ["orphan"]


def fail(world: World, times: int, error: type[BaseException] = RuntimeError) -> None:
    """The registry raises what nobody expects, so many times."""
    lookup, left = world.registry.lookup, [error()] * times

    def failing(models: Sequence[tuple[str, str | None, int]], /) -> Sequence[ModelEntry | None]:
        if left:
            raise left.pop()
        return lookup(models)

    world.registry.lookup = failing  # type: ignore[method-assign]


class TestExpiry:
    def test_rows_go_after_their_retention(self) -> None:
        world = World(orphan_after_hours=1, join_retention_hours=2)
        world.run(prompt(1), response(3, 2))
        world.run(log_time=T0_MS + 3 * 3_600_000)
        assert not world.joins.prompts
        assert not world.joins.responses

    def test_nothing_goes_before_it_became_an_orphan(self) -> None:
        world = World(orphan_after_hours=1, join_retention_hours=1, orphans_per_chunk=1)
        world.run(response(1, 11), response(2, 12))
        late = T0_MS + 9 * 3_600_000
        found = [*world.run(log_time=late), *world.run(log_time=late), *world.run(log_time=late)]
        assert sorted(item.event.id for item in found) == [uuid(1), uuid(2)]

    def test_retention_shorter_than_the_wait_is_refused(self) -> None:
        with pytest.raises(ValueError, match="join_retention_hours"):
            LookupSettings(orphan_after_hours=48, join_retention_hours=24)


class TestOutages:
    def test_events_pass_and_say_what_they_are_lacking(self, world: World) -> None:
        world.directory.down = world.registry.down = True
        question, answer, event = world.run(prompt(1), response(2, 1), session_event(3))
        assert question.lacking == answer.lacking == ("directory", "registry")
        assert event.lacking == ("directory",)
        assert (answer.state, answer.cost.status) == ("complete", "lacking")
        assert (question.version, answer.version) == (2, 4)
        assert question.own_user is None

    def test_a_replay_fills_in_what_was_lacking(self, world: World) -> None:
        world.directory.down = world.registry.down = True
        before = world.run(prompt(1), response(2, 1))
        world.directory.down = world.registry.down = False
        after = world.run(prompt(1), response(2, 1))
        fresh = World().run(prompt(1), response(2, 1))
        assert after == fresh
        assert all(new.version > old.version for old, new in zip(before, after, strict=True))

    def test_a_side_without_an_answer_is_asked_for_again(self, world: World) -> None:
        world.directory.down = True
        world.run(prompt(1))
        world.directory.down = False
        (answer,) = world.run(response(2, 1))
        assert (answer.user, answer.lacking) == (ACME, ())

    def test_an_unknown_user_is_an_answer(self, world: World) -> None:
        (question,) = world.run(prompt(1, session=session("s1", "stranger")))
        assert (question.user, question.lacking) == (UserFacts(), ())
        assert question.version == 4

    def test_without_the_join_store_nothing_passes(self, world: World) -> None:
        world.joins.down = True
        with pytest.raises(Unavailable):
            world.run(response(2, 1))


def test_the_input_is_left_as_it_was(world: World) -> None:
    items = [embedded(prompt(1)), embedded(response(2, 1))]
    before = msgspec.json.encode([item.event for item in items])
    world.stage(Chunk(Partition("t", 0), items, T0_MS))
    assert msgspec.json.encode([item.event for item in items]) == before


def test_an_event_without_a_vector_counts_one_fact_less(world: World) -> None:
    (question,) = world.run(prompt(1), vector=False)
    assert question.version == 3
