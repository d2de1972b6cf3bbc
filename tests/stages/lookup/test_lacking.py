"""What an event says it lacks, and that completing it gives what it would have been."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from schemas.items import Enriched, ModelRef, Request, Screened
from stages.extract import mutation_of
from tests.stages.lookup.test_stage import ACME, Directory, Registry, World
from tests.stages.memory_joins import MemoryJoins
from tests.stages.screened import GPT, prompt, response, session, session_event


def lacking(found: list[Enriched]) -> list[tuple[str, ...]]:
    return [item.lacking for item in found]


class Embedding(World):
    """A stage whose texts are to get vectors."""

    def __init__(self) -> None:
        from stages.lookup import LookupStage

        self.registry, self.directory, self.joins = Registry(), Directory(), MemoryJoins()
        self.stage = LookupStage(self.registry, self.directory, self.joins, embeds=True)


@pytest.mark.parametrize(
    ("down", "expected"),
    [
        ((), [(), (), ()]),
        (("directory",), [("directory",)] * 3),
        (("registry",), [("registry",), ("registry",), ()]),
        (("embedding",), [("embedding",), ("embedding",), ()]),
        (
            ("embedding", "directory", "registry"),
            [("embedding", "directory", "registry")] * 2 + [("directory",)],
        ),
    ],
)
def test_an_event_names_what_did_not_answer(
    down: tuple[str, ...], expected: list[tuple[str, ...]]
) -> None:
    world = Embedding()
    world.directory.down, world.registry.down = "directory" in down, "registry" in down
    events = prompt(1), response(2, 1), session_event(3)
    assert lacking(world.run(*events, vector="embedding" not in down)) == expected


def test_nothing_lacks_a_vector_where_there_is_no_text_or_none_is_wanted() -> None:
    assert lacking(World().run(prompt(1), vector=False)) == [()]
    assert lacking(Embedding().run(response(2, 1, None), vector=False)) == [()]
    assert lacking(Embedding().run(prompt(1, "  "), vector=False)) == [()]


def test_a_response_lacks_the_answers_on_its_own_session_and_model_too() -> None:
    """The prompt's side knows its user already; what the response itself names is another's."""
    world = World()
    world.run(prompt(1))
    world.directory.down = world.registry.down = True
    own = response(2, 1, session=session("s9", "u2"), model=ModelRef(Screened("mini")))
    (found,) = world.run(own)
    assert (found.user, found.own_user) == (ACME, None)
    assert found.lacking == ("directory", "registry")


EVENTS: dict[str, Any] = {
    "prompt": prompt(1),
    "session": session_event(3),
    "response": response(2, 1),
    "response with its own": response(
        2, 1, session=session("s9", "u2"), model=ModelRef(Screened("mini"))
    ),
    "response of an unknown user": response(2, 1, session=session("s9", "nobody")),
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("known", ["prompt", "nothing", "orphan"])
def test_completing_gives_what_it_would_have_been(name: str, known: str) -> None:
    """Whatever is down when the event comes, and whatever is down at first when it is completed:
    the same records, of the same version."""
    event = EVENTS[name]
    services = ("embedding", "directory", "registry")
    states = list(itertools.product([False, True], repeat=3))
    expected = None
    for came, tried in itertools.product(states, states):
        world = Embedding()
        if known == "prompt":
            world.run(prompt(1))
        down = dict(zip(services, came, strict=True))
        world.directory.down, world.registry.down = down["directory"], down["registry"]
        (item,) = world.run(event, vector=not down["embedding"])[-1:]
        if known == "orphan" and name.startswith("response"):
            (item,) = world.stage.complete([request_of(item, orphan=True)])
        if expected is None:
            assert not item.lacking
            expected = mutation_of(item, "test")
            continue
        mutation = mutation_of(item, "test")
        for lacks in (tried, (False, False, False)):
            if mutation.request is None:
                break
            # Identity is not settled: no point, no vector; never a version as high as the end's.
            if {"directory", "registry"} & set(mutation.request.lacks):
                assert mutation.vector is None
                assert mutation.point is None
            assert mutation.graph.stamp.version < expected.graph.stamp.version
            down = dict(zip(services, lacks, strict=True))
            world.directory.down, world.registry.down = down["directory"], down["registry"]
            request = mutation.request
            if not down["embedding"]:
                request = with_vector(request)
            (item,) = world.stage.complete([request])
            mutation = mutation_of(item, "test")
        assert mutation == expected, (came, tried)


def request_of(item: Enriched, *, orphan: bool) -> Request:
    from schemas.items import Embedded

    embedded = Embedded(item.event, item.vector, item.vector_model)
    return Request(embedded, ("directory",), item.side, orphan)


def with_vector(request: Request) -> Request:
    import msgspec

    from tests.stages.screened import embedded

    return msgspec.structs.replace(request, item=embedded(request.item.event))


def test_what_is_remembered_counts_while_a_service_is_down() -> None:
    """One unknown key does not cost the answers that a service still has."""
    from schemas.ports import Unavailable

    world = World()

    def lookup(keys: Any, /) -> Any:
        if any(user != "u1" for user, _ in keys):
            raise Unavailable("directory", "down")
        return [ACME for _ in keys]

    world.directory.lookup = lookup  # type: ignore[method-assign]
    found = world.run(prompt(1), prompt(2, session=session("s2", "u2")))
    assert lacking(found) == [(), ("directory",)]
    assert found[0].user == ACME
    assert found[0].model == GPT
