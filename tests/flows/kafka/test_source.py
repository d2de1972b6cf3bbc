"""The source over a real broker: start, order, commits, gaps, rewinds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from bytewax.inputs import AbortExecution

from flows.control import Control
from flows.kafka import GroupOffsets, log, member
from flows.kafka.buffer import Place
from flows.source import Span
from schemas.failures import UserError
from schemas.log import Partition
from schemas.ports import Unavailable
from tests.flows.kafka.world import (
    PARTITIONS,
    PROMPTS,
    RESPONSES,
    SESSIONS,
    World,
    delete_before,
    drain,
    full,
    make_topics,
    remove_topics,
    until,
)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that has more is waited for, however slow the broker is."""
    monkeypatch.setattr(log, "PATIENCE", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_new_group_reads_from_the_beginning_to_the_end(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2, 3)
    world.produce(RESPONSES, 1, 4, 5)
    chunks = [c for c in drain(world.part()) if c.items]
    assert sorted((c.partition.topic, len(c.items)) for c in chunks) == [
        (PROMPTS, 3),
        (RESPONSES, 2),
    ]
    record = chunks[0].items[0]
    assert (record.origin.offset, record.origin.timestamp) == (0, 1)
    assert record.original.open() == (None, (), b"{}")
    committed = world.committed()
    assert (committed[PROMPTS, 0], committed[RESPONSES, 1]) == (3, 2)
    assert world.lag() == 0
    assert not [c for c in drain(world.part()) if c.items]


def test_what_was_committed_before_is_not_read_again(world: World) -> None:
    world.produce(PROMPTS, 0, 10, 20)
    drain(world.part())
    world.produce(PROMPTS, 0, 15)
    chunks = drain(world.part())
    assert [r.origin.offset for c in chunks for r in c.items] == [2]
    # The greatest log time outlives the process: it stands beside the offset.
    assert chunks[-1].log_time == 20


@pytest.mark.usefixtures("patient")
def test_partitions_are_read_in_step_by_log_time(world: World) -> None:
    world.produce(RESPONSES, 0, 10, 20, 50, 60)
    world.produce(RESPONSES, 1, 15, 30, 55, 70)
    chunks = [c for c in drain(world.part(limit=2)) if c.items]
    firsts = [c.items[0].origin.timestamp for c in chunks]
    assert firsts == sorted(firsts) == [10, 15, 50, 55]


def test_no_chunk_holds_a_record_older_than_the_watermarks_before_it(world: World) -> None:
    world.produce(PROMPTS, 0, *range(1, 4_000, 3))
    world.produce(PROMPTS, 3, *range(2, 4_000, 5))
    world.produce(RESPONSES, 1, *range(5, 4_000, 7))
    watermark = 0
    for chunk in drain(world.part(limit=50, work=1000.0)):
        assert chunk.log_time >= watermark
        watermark = chunk.log_time
        assert all(r.origin.timestamp >= watermark for r in chunk.items)
    assert watermark == 3_997


def test_chunks_are_bounded_and_complete(world: World) -> None:
    world.produce(PROMPTS, 0, *range(1, 3_001))
    chunks = [c for c in drain(world.part(limit=200, work=1000.0)) if c.items]
    assert max(len(c.items) for c in chunks) == 200
    assert [r.origin.offset for c in chunks for r in c.items] == list(range(3_000))


def test_a_careful_range_is_read_one_event_at_a_time(world: World) -> None:
    world.produce(PROMPTS, 0, *range(1, 11))
    part = world.part(careful={Partition(PROMPTS, 0): ((3, 5),)}, work=1000.0)
    assert [len(c.items) for c in drain(part) if c.items] == [3, 1, 1, 1, 4]


def test_nothing_is_committed_before_the_batch_after_the_seal(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    part = world.part(follow=True)
    assert len(full(part).items) == 2
    part.next_batch()
    assert (PROMPTS, 0) not in world.committed()
    part.snapshot()
    assert (PROMPTS, 0) not in world.committed()
    part.next_batch()
    until(lambda: part.next_batch() is not None and world.committed().get((PROMPTS, 0)) == 2)


def test_closing_commits_nothing(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    part = world.part(follow=True)
    full(part)
    part.snapshot()
    part.close()
    assert world.committed() == {}


def test_a_seal_holds_what_was_read_before_it_only(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2, 3, 4)
    part = world.part(follow=True, limit=2)
    full(part)
    part.snapshot()
    full(part)
    until(lambda: part.next_batch() is not None and world.committed().get((PROMPTS, 0)))
    assert world.committed()[PROMPTS, 0] == 2


def test_after_a_failure_nothing_is_committed(world: World) -> None:
    world.produce(PROMPTS, 0, 1)
    control = Control(quiet=True)
    part = world.part(control, follow=True)
    full(part)
    part.snapshot()
    control.fail(Unavailable("graph", "full"))
    with pytest.raises(AbortExecution):
        part.next_batch()
    part.close()
    assert world.committed() == {}


def test_a_stop_commits_what_was_read_and_reads_no_more(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2, 3, 4)
    control = Control(quiet=True)
    part = world.part(control, follow=True, limit=2)
    full(part)
    control.stop()
    assert part.next_batch() == []
    part.snapshot()
    with pytest.raises(StopIteration):
        part.next_batch()
    assert world.committed()[PROMPTS, 0] == 2


@pytest.mark.usefixtures("patient")
def test_a_lost_write_sends_the_reader_back_to_what_is_committed(world: World) -> None:
    world.produce(PROMPTS, 0, *range(1, 7))
    world.produce(RESPONSES, 0, *range(100, 104))
    part = world.part(limit=2)
    full(part)
    part.snapshot()
    seen = [full(part), full(part)]
    assert [r.origin.offset for c in seen for r in c.items] == [2, 3, 4, 5]
    part.snapshot()
    world.settle_faults = [Unavailable("joins", "full")]
    assert part.next_batch() == []
    chunks = [c for c in drain(part) if c.items]
    assert [r.origin.offset for c in chunks for r in c.items if c.partition.topic == PROMPTS] == [
        2, 3, 4, 5,
    ]  # fmt: skip
    assert world.lag() == 0


def test_a_cluster_that_fails_while_it_reads_again_hides_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 3_000
    world.produce(PROMPTS, 0, *range(1, count + 1))
    part = world.part(limit=100)
    full(part)
    world.settle_faults = [Unavailable("joins", "full")]
    part.snapshot()
    answers: list[bool] = [True, False]  # What is committed is told, and then not again at once.
    load = GroupOffsets.load

    def failing(offsets: GroupOffsets) -> dict[Partition, Place]:
        if answers and not answers.pop(0):
            raise Unavailable("kafka", "unreachable")
        return load(offsets)

    monkeypatch.setattr(GroupOffsets, "load", failing)
    assert part.next_batch() == []
    offsets = [r.origin.offset for c in drain(part) for r in c.items]
    assert not answers
    assert offsets == list(range(count))
    assert world.lag() == 0


def test_a_lost_write_before_any_commit_begins_at_the_beginning(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    part = world.part()
    full(part)
    part.snapshot()
    world.settle_faults = [Unavailable("joins", "full")]
    assert part.next_batch() == []
    assert [r.origin.offset for c in drain(part) for r in c.items] == [0, 1]


def test_reading_stops_at_the_ends_found_at_the_start(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    part = world.part()
    world.produce(PROMPTS, 0, 3, 4)
    assert [r.origin.offset for c in drain(part) for r in c.items] == [0, 1]
    assert world.committed()[PROMPTS, 0] == 2


def test_a_span_is_read_to_its_ends_and_no_other_topic(world: World) -> None:
    world.produce(PROMPTS, 1, *range(1, 11))
    world.produce(RESPONSES, 0, 1)
    ends = {Partition(PROMPTS, n): 4 if n == 1 else 0 for n in range(4)}
    part = world.part(span=Span((PROMPTS,), ends))
    assert [r.origin.offset for c in drain(part) for r in c.items] == [0, 1, 2, 3]


def test_following_goes_on_with_what_is_produced(world: World) -> None:
    part = world.part(follow=True)
    world.produce(SESSIONS, 0, 7)
    assert full(part).items[0].origin.timestamp == 7
    until(lambda: [c for _, c in part.next_batch() if not c.items and c.log_time == 7])
    world.produce(RESPONSES, 1, 8)
    assert full(part).items[0].origin.timestamp == 8


def test_a_tombstone_and_headers_arrive_as_they_are(world: World) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": world.settings.bootstrap_servers})
    name = world.settings.topic_prefix + PROMPTS
    producer.produce(name, None, key=b"k", partition=2, timestamp=1)
    producer.produce(name, b"v", partition=2, headers=[("a", b"1"), ("n", None)], timestamp=2)
    producer.flush(30)
    records = [r.original.open() for c in drain(world.part()) for r in c.items]
    assert records == [(b"k", (), b""), (None, (("a", b"1"), ("n", b"")), b"v")]


@pytest.mark.parametrize("first", [3, 6])
def test_a_gap_below_stops_its_partition_only(world: World, first: int) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    drain(world.part())
    world.produce(PROMPTS, 0, 3, 4, 5, 6)
    world.produce(PROMPTS, 1, 7)
    delete_before(world.settings, PROMPTS, 0, first)
    control = Control(quiet=True)
    chunks = []
    with pytest.raises(AbortExecution):
        chunks += drain(world.part(control))
    assert isinstance(control.failure, UserError)
    assert f"llm.prompts.v1:0 2 to {first - 1}" in str(control.failure)
    assert "--accept-gap" in str(control.failure)
    assert control.troubles == {"partition llm.prompts.v1:0": "offset_gap"}
    assert world.committed()[PROMPTS, 1] == 1
    assert world.committed()[PROMPTS, 0] == 2
    again = drain(world.part(accept_gap=True))
    assert [r.origin.offset for c in again for r in c.items] == list(range(first, 6))
    assert world.lag() == 0


def test_members_that_each_have_a_gap_do_not_wait_for_one_another(world: World) -> None:
    places = [Partition(topic, n) for topic, count in PARTITIONS.items() for n in range(count)]
    offsets = GroupOffsets(world.settings)
    offsets.commit(dict.fromkeys(places, 1))
    offsets.close()
    for place in places:
        world.produce(place.topic, place.number, 1, 2, 3, 4)
        delete_before(world.settings, place.topic, place.number, 3)
    controls = [Control(quiet=True), Control(quiet=True)]
    parts = [world.part(control) for control in controls]
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(drain, part) for part in parts]
    assert [type(future.exception()) for future in ended] == [AbortExecution] * 2
    for control in controls:
        assert "--accept-gap" in str(control.failure)


def test_a_member_waits_for_others_as_long_as_they_read_on(world: World) -> None:
    for topic, count in PARTITIONS.items():
        for number in range(count):
            world.produce(topic, number, *range(1, 2_001))
    settings = world.settings.model_copy(update={"session_timeout_ms": 5_000})
    control, other_control = Control(quiet=True), Control(quiet=True)
    other = world.part(other_control, follow=True, limit=1)
    part = world.part(control, settings=settings)

    def turn() -> bool:
        """One record; slowly enough that it has not read everything before anybody waits."""
        time.sleep(0.02)
        other.next_batch()
        return bool(other_control.assigned)

    def shared() -> bool:
        return turn() and bool(control.assigned and control.assigned < 7)

    with ThreadPoolExecutor(1) as pool:
        until(turn)
        ended = pool.submit(drain, part)
        until(shared)
        began = time.monotonic()
        while time.monotonic() - began < 12.0:  # Longer than one that stands still may take.
            turn()
            other.snapshot()
        assert not ended.done()
        until(ended.done)  # Its keeper keeps it in the group, and it reads no further.
    assert world.lag() > 0
    assert control.failure is None


def test_a_gap_that_comes_while_reading_is_found_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "BUFFERED", 1 << 16)
    small = {"queued.max.messages.kbytes": "64", "fetch.message.max.bytes": "20000"}
    settings = world.settings.model_copy(update={"properties": small})
    world.produce(PROMPTS, 0, *range(1, 3_001), value=b"x" * 1_000)
    control = Control(quiet=True)
    part = world.part(control, settings=settings, follow=True, limit=2, work=1000.0)
    full(part)
    delete_before(world.settings, PROMPTS, 0, 2_990)
    until(lambda: part.next_batch() is None or control.troubles)
    control.stop()
    taken = [r.origin.offset for c in drain(part) for r in c.items]
    committed = world.committed()[PROMPTS, 0]
    assert 2 < committed < 2_990
    assert control.troubles == {"partition llm.prompts.v1:0": "offset_gap"}
    assert taken == []


def test_a_log_that_ends_before_the_commit_is_a_gap(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2)
    offsets = GroupOffsets(world.settings)
    offsets.commit({Partition(PROMPTS, 0): 50})
    offsets.close()
    control = Control(quiet=True)
    with pytest.raises(AbortExecution):
        drain(world.part(control))
    assert "llm.prompts.v1:0 2 to 49" in str(control.failure)
    # What is new among the offsets that are used again is not known: nothing of it is left out.
    again = drain(world.part(accept_gap=True))
    assert [r.origin.offset for c in again for r in c.items] == [0, 1]
    assert world.lag() == 0


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_topic_that_is_made_anew_under_a_reader_is_read_from_its_beginning(
    world: World, protocol: str
) -> None:
    settings = world.settings.model_copy(update={"protocol": protocol})
    world.produce(PROMPTS, 0, *range(1, 51))
    control = Control(quiet=True)
    part = world.part(control, settings=settings, follow=True, accept_gap=True)
    taken: list[int] = []

    def step() -> bool:
        taken.extend(r.origin.offset for _, c in part.next_batch() for r in c.items)
        part.snapshot()
        return True

    until(lambda: step() and world.lag() == 0)
    assert len(taken) == 50
    remove_topics(world.settings, PROMPTS)
    make_topics(world.settings)
    world.produce(PROMPTS, 0, *range(101, 111))
    until(lambda: step() and taken[50:] == list(range(10)))
    control.stop()
    drain(part)
    assert world.lag() == 0


def test_a_partition_that_was_empty_has_a_commit(world: World) -> None:
    world.produce(PROMPTS, 0, 1)
    drain(world.part())
    assert world.committed()[PROMPTS, 3] == 0
    world.produce(PROMPTS, 3, 1, 2)
    delete_before(world.settings, PROMPTS, 3, 1)
    control = Control(quiet=True)
    with pytest.raises(AbortExecution):
        drain(world.part(control))
    assert "llm.prompts.v1:3 0 to 0" in str(control.failure)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_what_another_member_had_for_a_while_is_read_on(world: World, protocol: str) -> None:
    """Partitions that were paused when they went are not when they come back."""
    settings = world.settings.model_copy(update={"protocol": protocol})
    for number in range(4):
        world.produce(PROMPTS, number, *range(1, 2_001))
    control = Control(quiet=True)
    part = world.part(control, settings=settings, follow=True, limit=5, work=1000.0)
    seen = {(c.partition.number, r.origin.offset) for c in [full(part)] for r in c.items}
    other_control = Control(quiet=True)
    other = world.part(other_control, settings=settings, follow=True, limit=5, work=1000.0)

    def both() -> bool:
        for one in (part, other):
            for _, chunk in one.next_batch():
                seen.update((chunk.partition.number, r.origin.offset) for r in chunk.items)
            one.snapshot()
        return bool(other_control.assigned)

    until(both)
    assert control.assigned is not None
    assert control.assigned < 7
    other.close()

    def alone() -> bool:
        for _, chunk in part.next_batch():
            seen.update((chunk.partition.number, r.origin.offset) for r in chunk.items)
        part.snapshot()
        return control.assigned == 7 and len(seen) == 8_000

    until(alone)
    control.stop()
    drain(part)
    assert world.lag() == 0


def test_a_member_polls_on_while_nobody_asks_it_for_records(world: World) -> None:
    """Twice the longest time between polls passes, and a second member gets its share."""
    settings = world.settings.model_copy(update={"max_poll_interval_ms": 1_500})
    world.produce(PROMPTS, 0, *range(1, 3_001))
    control = Control(quiet=True)
    part = world.part(control, settings=settings, follow=True, limit=10, work=1000.0)
    full(part)
    part.snapshot()
    began = time.monotonic()
    other_control = Control(quiet=True)
    other = world.part(other_control, settings=settings, follow=True)
    until(
        lambda: (
            other.next_batch() is None
            or (other_control.assigned and time.monotonic() - began > 4.0)
        )
    )
    assert control.assigned is not None
    assert 0 < control.assigned < 7
    assert control.assigned + (other_control.assigned or 0) == 7
    assert control.troubles == {}
    control.stop()
    drain(part)
