"""After an erasure nothing of an event is left in stores, queues and joins, and nothing brings it
back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.enrich import enrich
from flows.erase import Incomplete, erase, identities
from flows.keys import load_keys
from flows.reconcile import reconcile
from flows.settings import Settings, load_settings
from flows.stores import SELECT, Stores, open_stores
from flows.writing import write_all
from schemas.chunk import Chunk
from schemas.failures import UserError
from schemas.log import Partition
from schemas.ports import Result
from schemas.queues import Request
from schemas.records import STORES, RecordId
from sinks.kafka.purge import purge
from sinks.kafka.reader import TopicReader
from sinks.kafka.topics import ENRICHMENT, reconciliation
from stages.extract import mutation_of
from stages.lookup import LookupStage
from tests.faults.services import World
from tests.sinks.kafka.topics import is_queue, own_topics
from tests.stages.lookup.test_stage import Directory, Registry
from tests.stages.screened import T0_MS, embedded, prompt, response, session, uuid

CANARY = "canary-7f31"
AMY, BOB = session("s1", "u1"), session("s2", "u2")
MINE = [RecordId("prompt", uuid(1)), RecordId("response", uuid(2)), RecordId("response", uuid(3))]


def settings_in(folder: Path, sections: str = "") -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "settings.toml"
    config.write_text(f'[embed]\nmode = "deferred"\n[pii.detect]\nnames = false\n{sections}')
    settings = load_settings(config, data=folder / "data")
    load_keys(settings.data, create=True)
    return settings


@contextmanager
def opened(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings, load_keys(settings.data, create=False)) as stores:
        yield stores


def fill(settings: Settings, rng: random.Random) -> None:
    """Amy's prompt and answer, and one of hers that waits for its prompt; Bob's the same. Some of
    the records are parked, and every event waits for its vector."""
    events = [
        prompt(1, f"{CANARY} asks", session=AMY),
        response(2, 1, f"{CANARY} is told", session=AMY),
        response(3, 9, f"{CANARY} waits", session=AMY),
        prompt(11, "other asks", session=BOB),
        response(12, 11, "other is told", session=BOB),
    ]
    with opened(settings) as stores:
        stage = LookupStage(Registry(), Directory(), stores.joins, embeds=True)
        chunk = Chunk(Partition("llm.prompts.v1", 0), [embedded(e, vector=False) for e in events])
        mutations = [mutation_of(item, "test", T0_MS) for item in stage(chunk).passed.items]
        stores.joins.flush()
        write_all(stores, mutations)
        for mutation in mutations:
            for store in STORES:
                record = SELECT[store](mutation)
                if record is not None and rng.random() < 0.7:
                    stores.parking.park(store, [(record, "down")])


def left_of(settings: Settings) -> list[str]:
    """Files that the canary stands in."""
    return [
        p.name
        for p in settings.data.rglob("*")
        if p.is_file() and CANARY.encode() in p.read_bytes()
    ]


def held(stores: Stores, *ids: RecordId) -> dict[str, int]:
    return {store: len(stores.sinks[store].fetch(ids)) for store in STORES}


def test_nothing_is_left_of_a_user_and_nothing_comes_back(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    settings = settings_in(tmp_path)
    fill(settings, random.Random(seed))
    assert left_of(settings)
    done = erase(settings, user="u1")
    assert done.events == len(MINE)
    assert done.waiting >= len(MINE)
    assert left_of(settings) == []
    for _ in range(2):
        fill(settings, random.Random(seed))  # A replay.
        reconcile(settings)
        assert enrich(settings, services=World()).left == 0
        with opened(settings) as stores:
            assert held(stores, *MINE) == dict.fromkeys(STORES, 0)
            assert held(stores, RecordId("prompt", uuid(11)))["vector"] == 1
            assert set(stores.parking.backlog().values()) == {0}
    assert erase(settings, user="u1").events == 0
    assert (
        erase(
            settings, identities([f"response/{uuid(3)}".upper().replace("RESPONSE", "response")])
        ).waiting
        == 1
    )
    erase(settings, MINE)
    assert left_of(settings) == []


def test_what_is_only_parked_or_queued_is_found_by_its_user(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with opened(settings) as stores:
        item = embedded(prompt(1, CANARY, session=AMY), vector=False)
        stage = LookupStage(Registry(), Directory(), stores.joins, embeds=True)
        (found,) = stage(Chunk(Partition("llm.prompts.v1", 0), [item])).passed.items
        mutation = mutation_of(found, "test")
        stores.parking.park("graph", [(mutation.graph, "down")])
        other = embedded(response(5, 6, CANARY, session=AMY), vector=False)
        stores.requests.put([Request(other, ("embedding",))])
    assert erase(settings, user="u1").events == 2
    assert left_of(settings) == []


def test_a_store_that_does_not_answer_is_named_and_the_others_erase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sinks.sqlite.graph import GraphSink

    settings = settings_in(tmp_path)
    fill(settings, random.Random(1))
    with monkeypatch.context() as patch:
        patch.setattr(
            GraphSink, "delete", lambda _, ids: [Result("unavailable", "locked")] * len(ids)
        )
        with pytest.raises(Incomplete, match=r"graph \(locked\)"):
            erase(settings, MINE)
    with opened(settings) as stores:
        assert held(stores, *MINE) == {"graph": 3, "vector": 0, "timeseries": 0, "search": 0}
    erase(settings, MINE)
    with opened(settings) as stores:
        assert held(stores, *MINE) == dict.fromkeys(STORES, 0)


@pytest.mark.parametrize("name", ["x", uuid(1), "event/" + uuid(1), "/"])
def test_a_name_that_is_none_is_an_error_of_use(name: str) -> None:
    with pytest.raises(UserError, match="kind"):
        identities([name])


def test_an_id_that_is_none_is_an_error_of_use(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(UserError, match="UUID"):
        erase(settings, identities(["prompt/nonsense"]))


@pytest.mark.servers
def test_in_kafka_it_is_not_written_sent_or_kept(tmp_path: Path, kafka: Any) -> None:
    topics = own_topics(kafka.bootstrap, is_queue, partitions=2)
    settings = settings_in(
        tmp_path,
        f'[backends]\nqueues = "kafka"\n[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\n'
        f'topic_prefix = "{topics.topic_prefix}"\ngroup = "{topics.group}"\n',
    )
    fill(settings, random.Random(3))
    assert erase(settings, user="u1").parked
    erase(settings, MINE)
    world = World()
    reconcile(settings)
    assert enrich(settings, services=world).left == 0
    with opened(settings) as stores:
        assert held(stores, *MINE) == dict.fromkeys(STORES, 0)
        assert held(stores, RecordId("prompt", uuid(11)))["vector"] == 1
    purge(topics)
    reader = TopicReader(topics, [*map(reconciliation, STORES), ENRICHMENT])
    try:
        assert [message.key() for _, message in reader.read()] == []
    finally:
        reader.close()
    assert left_of(settings) == []
