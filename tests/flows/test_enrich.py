"""The enricher over the embedded stores: what it asks for whom, and what it leaves in the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flows.enriching import Enricher
from flows.keys import load_keys
from flows.settings import load_settings
from flows.stores import Stores, open_stores
from flows.writing import write_all
from schemas.chunk import Chunk
from schemas.items import Embedded, Request, UserFacts
from schemas.log import Partition
from schemas.ports import Unavailable
from schemas.records import STORES, RecordId
from stages.embed import EmbedStage, MemoryCache
from stages.extract import mutation_of
from stages.lookup import LookupStage
from tests.conformance.doubles import HashEmbedder
from tests.stages.lookup.test_stage import Directory, Registry
from tests.stages.screened import embedded, prompt, response, uuid

POISON = "poison"


class Embedder(HashEmbedder):
    """Notes what it is given; raises what nobody expects for one text."""

    dimensions = 384

    def __init__(self) -> None:
        self.down = False
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str], /) -> list[bytes]:
        if self.down:
            raise Unavailable("embedder", "down")
        self.seen += texts
        if POISON in texts:
            raise RuntimeError
        return super().embed(texts)


class Users(Directory):
    """Notes whom it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def lookup(self, users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
        self.asked += [user for user, _ in users]
        return super().lookup(users)


class World:
    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.embedder, self.directory, self.registry = Embedder(), Users(), Registry()
        self.enricher = Enricher(
            stores,
            EmbedStage(self.embedder, MemoryCache(100)),
            LookupStage(self.registry, self.directory, stores.joins, embeds=True),
        )

    @property
    def queue(self) -> Any:
        return self.stores.requests

    def put(self, *events: Any, lacks: tuple[Any, ...] = ("embedding",)) -> None:
        self.queue.put([Request(Embedded(event), lacks) for event in events])

    def waiting(self) -> list[str]:
        return [queued.request.item.event.id for queued in self.queue.take(1_000)]

    def vectors(self) -> int:
        return self.stores.sinks["vector"].count()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = load_settings(data=tmp_path / "data")
    with open_stores(settings, load_keys(settings.data, create=True)) as stores:
        yield World(stores)


def test_what_was_erased_is_sent_to_no_service_and_leaves_the_queue(world: World) -> None:
    world.put(prompt(1, "of the erased"), prompt(2, "of another"))
    for store in STORES:
        world.stores.sinks[store].delete([RecordId("prompt", uuid(1))])
    world.enricher.once(Event())
    assert world.embedder.seen == ["of another"]
    assert world.waiting() == []
    assert world.vectors() == 1
    world.enricher.once(Event())
    assert world.enricher.end().completed == 1


def test_nothing_of_it_is_kept_while_a_service_is_down(world: World) -> None:
    """Without the tombstone it would be queued again at each pass."""
    world.directory.down = world.embedder.down = True
    world.put(prompt(1), response(2, 1), lacks=("embedding", "directory"))
    for store in STORES:
        world.stores.sinks[store].delete([RecordId("prompt", uuid(1))])
    world.enricher.once(Event())
    assert world.waiting() == [uuid(2)]
    assert world.directory.asked == []


def test_a_store_that_does_not_answer_holds_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(prompt(1), prompt(2))
    world.stores.sinks["search"].delete([RecordId("prompt", uuid(1))])

    def down(_: Any) -> Any:
        raise Unavailable("store", "down")

    for store in STORES:
        if store != "search":
            monkeypatch.setattr(world.stores.sinks[store], "erased", down)
    world.enricher.once(Event())
    assert (world.waiting(), world.embedder.seen) == ([], [prompt(2).text.text])
    monkeypatch.setattr(world.stores.sinks["search"], "erased", down)
    world.put(prompt(3))
    world.enricher.once(Event())
    assert world.waiting() == []


def test_a_text_that_makes_a_stage_raise_holds_up_no_other(world: World) -> None:
    world.put(prompt(1, "one"), prompt(2, POISON), prompt(3, "three"))
    world.enricher.once(Event())
    assert world.waiting() == [uuid(2)]
    assert world.vectors() == 2
    (queued,) = world.queue.take(1)
    assert queued.attempts == 1


def test_what_is_known_is_not_overwritten_by_what_has_no_answer_now(world: World) -> None:
    """The tenant and the price stood in the stores when only the vector was lacking."""
    stage = LookupStage(world.registry, world.directory, world.stores.joins, embeds=True)
    chunk = Chunk(Partition("llm.prompts.v1", 0), [embedded(prompt(1), vector=False)])
    (item,) = stage(chunk).passed.items
    write_all(world.stores, [mutation_of(item, "test")])
    identity = RecordId("prompt", uuid(1))
    before = world.stores.sinks["search"].fetch([identity])[identity]
    assert before.stamp.tenant == "acme"
    (queued,) = world.queue.take(9)
    world.directory.down = True
    world.enricher.once()
    assert world.stores.sinks["search"].fetch([identity])[identity] == before
    assert [again.sequence for again in world.queue.take(9)] == [queued.sequence]
    world.directory.down = False
    world.enricher.once()
    assert (world.waiting(), world.vectors()) == ([], 1)
    after = world.stores.sinks["search"].fetch([identity])[identity]
    assert after.stamp.version == before.stamp.version + 1
    assert world.enricher.end().improved == 0
