"""The reconciliation and enrichment queues on Kafka: nothing is lost, whoever dies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from schemas.failures import UserError
from schemas.items import (
    Embedded,
    ModelRef,
    PromptSide,
    Screened,
    ScreenedResponse,
    SessionRef,
    UserFacts,
)
from schemas.log import Origin
from schemas.queues import Parked, Queued, Request
from schemas.records import STORES, DocumentRecord, Store
from sinks.kafka.producer import LIMIT, KafkaProducer, Message
from sinks.kafka.queues import KafkaQueues
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import ENRICHMENT, reconciliation
from tests.conformance.records import record
from tests.sinks.kafka.conftest import KEY

CANARY = "canary-5a3c"


@pytest.fixture(params=["consumer", "classic"])
def both_protocols(
    settings: KafkaSettings, request: pytest.FixtureRequest
) -> Iterator[KafkaQueues]:
    made = KafkaQueues(settings.model_copy(update={"protocol": request.param}), KEY)
    yield made
    made.close()


def taken(queues: KafkaQueues, store: Store, count: int) -> list[Parked]:
    """The first so many, once the member has its partitions."""
    found: list[Parked] = []
    _until(lambda: found.extend(queues.parking.take(store, 500, _last(found))), found, count)
    return found


def _last(found: Sequence[Any]) -> int:
    return found[-1].sequence if found else 0


def _until(more: Callable[[], None], found: Sequence[Any], count: int) -> None:
    end = time.monotonic() + 60
    while len(found) < count:
        more()
        assert time.monotonic() < end, f"{len(found)} of {count}"


def drain(queues: KafkaQueues, store: Store) -> list[Parked]:
    """Everything, settled."""
    found: list[Parked] = []
    end = time.monotonic() + 60
    while not queues.parking.caught_up(store):
        batch = queues.parking.take(store, 500)
        queues.parking.settle(batch)
        found += batch
        assert time.monotonic() < end
    queues.parking.release(store)
    return found


@pytest.mark.parametrize("store", STORES)
def test_records_come_back_as_they_were(queues: KafkaQueues, store: Store) -> None:
    queues.parking.park(store, [(record(store, n, text="ünïcode"), "locked") for n in range(9)])
    assert queues.parking.backlog() == {s: 9 * (s == store) for s in STORES}
    found = drain(queues, store)
    assert sorted((p.record for p in found), key=str) == sorted(
        (record(store, n, text="ünïcode") for n in range(9)), key=str
    )
    assert {(p.store, p.code, p.attempts) for p in found} == {(store, "locked", 0)}
    assert queues.parking.backlog() == dict.fromkeys(STORES, 0)


def test_what_waits_is_sealed_and_its_headers_show_no_text(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    for store in STORES:
        queues.parking.park(store, [(record(store, 1, text=CANARY), "locked")])
    reader = TopicReader(settings, [reconciliation(store) for store in STORES])
    found = [message for _, message in reader.read()]
    reader.close()
    assert len(found) == len(STORES)
    for message in found:
        assert CANARY not in repr((message.key(), message.headers(), message.value()))
        headers = dict(message.headers())
        assert headers["x-failure-reason"] == b"locked"
        assert headers["x-original-offset"] == b"1"


def test_what_is_not_settled_comes_again(
    settings: KafkaSettings, both_protocols: KafkaQueues
) -> None:
    queues = both_protocols
    queues.parking.park("graph", [(record("graph", n), "full") for n in range(200)])
    found = taken(queues, "graph", 200)
    rng = random.Random(7)
    kept = rng.sample(found, 20)
    queues.parking.settle([p for p in found if p not in kept])
    assert {p.sequence for p in queues.parking.take("graph", 500)} == {p.sequence for p in kept}
    queues.parking.release("graph")
    other = KafkaQueues(settings, KEY)
    again = {p.record.stamp.id for p in drain(other, "graph")}
    assert {p.record.stamp.id for p in kept} <= again
    assert other.parking.backlog()["graph"] == 0
    other.close()


def test_a_failing_record_keeps_its_count_and_goes_to_the_end(queues: KafkaQueues) -> None:
    queues.parking.park("graph", [(record("graph", n), "full") for n in range(50)])
    found = taken(queues, "graph", 50)
    poisoned = found[0]
    queues.parking.settle(found[1:])
    for attempt in range(1, 3):
        queues.parking.failed([(poisoned, f"code_{attempt}")])
        (poisoned,) = queues.parking.take("graph", 500)
        assert (poisoned.attempts, poisoned.code) == (attempt, f"code_{attempt}")
    queues.parking.failed([(poisoned, "code_3")])
    (again,) = taken(queues, "graph", 1)
    assert again.sequence != poisoned.sequence
    assert (again.record, again.attempts, again.code) == (poisoned.record, 3, "code_3")
    assert queues.parking.backlog()["graph"] == 1, "the commit has passed what it stood before"
    queues.parking.settle([again])
    queues.parking.release("graph")
    assert queues.parking.backlog()["graph"] == 0


def test_two_members_share_a_queue_and_a_leaver_loses_nothing(
    settings: KafkaSettings, queues: KafkaQueues
) -> None:
    other = KafkaQueues(settings, KEY)
    queues.parking.park("search", [(record("search", n), "full") for n in range(400)])
    seen: set[str] = set()

    def both() -> None:
        for member in (queues, other):
            for parked in member.parking.take("search", 20):
                # One settles, the other leaves with what it has taken.
                if member is queues:
                    seen.add(parked.record.stamp.id)
                    queues.parking.settle([parked])

    end = time.monotonic() + 60
    while not other.parking._queues["search"]._held:
        both()
        queues.parking.park("search", [(record("search", len(seen) + 500), "full")])
        assert time.monotonic() < end
    other.close()
    rest = {p.record.stamp.id for p in drain(queues, "search")}
    everything = {record("search", n).stamp.id for n in range(400)}
    assert everything <= seen | rest


def test_a_record_too_large_for_a_message_becomes_a_dead_letter(queues: KafkaQueues) -> None:
    good = record("search", 1)
    noise = random.Random(1).randbytes(LIMIT).hex()
    assert isinstance(good, DocumentRecord)
    large = msgspec.structs.replace(good, text=noise[: LIMIT - 1])
    too_large = msgspec.structs.replace(record("search", 2), text=noise + noise[::-1])
    queues.parking.park("search", [(large, "full"), (too_large, "full")])
    assert [p.record for p in drain(queues, "search")] == [large]
    (letter,) = queues.letters.list()
    assert (letter.code, letter.store) == ("too_large_to_park", "search")


def test_another_key_is_named(settings: KafkaSettings, queues: KafkaQueues) -> None:
    queues.parking.park("graph", [(record("graph", 1), "full")])
    other = KafkaQueues(settings, bytes(32))
    with pytest.raises(UserError, match="MEMORY_GRAPH_KEY"):
        taken(other, "graph", 1)
    other.close()


def test_messages_of_others_are_passed_over(settings: KafkaSettings, queues: KafkaQueues) -> None:
    producer = KafkaProducer(settings)
    producer.send([Message(reconciliation("graph"), b"k", b"v", [])])
    producer.send([Message(ENRICHMENT, b"k", b"v", [])])
    queues.parking.park("graph", [(record("graph", 1), "full")])
    assert [p.record for p in drain(queues, "graph")] == [record("graph", 1)]
    assert queues.parking.backlog()["graph"] == 0
    producer.close()


def request(number: int = 1, **changes: Any) -> Request:
    origin = Origin("llm.responses.v1", 1, number, 99)
    event = ScreenedResponse(
        id=record("graph", number).stamp.id, time=5, origin=origin, prompt_id="p", text=None
    )
    session, model = SessionRef(Screened("s"), Screened("u")), ModelRef(Screened("m"))
    side = PromptSide("p", 4, session, model, UserFacts("acme", None, True))
    given: dict[str, Any] = {"side": side, "orphan": True, "log_time": 77}
    return Request(
        Embedded(event, b"\0\1\2\3", "minilm"), ("embedding", "registry"), **(given | changes)
    )


def test_requests_come_back_as_they_were(queues: KafkaQueues) -> None:
    wanted = [request(n) for n in range(20)]
    queues.requests.put(wanted)
    assert queues.requests.backlog() == 20
    assert set(queues.requests.waiting()) == {
        record("graph", n, kind="response").stamp.record_id for n in range(20)
    }
    found: list[Queued] = []
    _until(lambda: found.extend(queues.requests.take(500, _last(found))), found, 20)
    assert sorted((q.request for q in found), key=str) == sorted(wanted, key=str)
    queues.requests.failed(found[:2])
    assert [q.attempts for q in queues.requests.take(2)] == [1, 1]
    queues.requests.settle(found)
    queues.requests.release()
    assert queues.requests.backlog() == 0
