"""The source: order, bounds, watermarks, seals, and what happens to a lost write."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from bytewax.inputs import AbortExecution
from hypothesis import given
from hypothesis import strategies as st

from flows.control import Control
from flows.filelog import LogWriter, NewRecord, NotALog, Position
from flows.filelog.source import file_source
from flows.pacing import FIRST_EVENT, Pace
from flows.source import MOST_SEALS, Reading, SourcePart
from schemas.chunk import Chunk
from schemas.log import LogRecord, Partition
from schemas.ports import Damaged, Unavailable

PROMPTS, RESPONSES = "llm.prompts.v1", "llm.responses.v1"


class Offsets:
    """In memory; ``faults`` are raised by the next commits, one each, ``load_faults`` by loads."""

    def __init__(self) -> None:
        self.held: dict[Partition, Position] = {}
        self.commits: list[dict[Partition, Position]] = []
        self.faults: list[BaseException] = []
        self.load_faults: list[BaseException] = []

    def load(self) -> Mapping[Partition, Position]:
        if self.load_faults:
            raise self.load_faults.pop(0)
        return dict(self.held)

    def commit(self, positions: Mapping[Partition, Position]) -> Future[None]:
        future: Future[None] = Future()
        if self.faults:
            future.set_exception(self.faults.pop(0))
            return future
        self.commits.append(dict(positions))
        self.held.update(positions)
        future.set_result(None)
        return future

    def offsets(self) -> dict[tuple[str, int], int]:
        return {(p.topic, p.number): x.offset for p, x in self.held.items()}


class World:
    """A log, a source over it, and bytewax's part played by hand."""

    def __init__(self, log: Path, **settings: object) -> None:
        self.log = log
        self.offsets = Offsets()
        self.control = Control(quiet=True)
        self.settle_faults: list[BaseException] = []
        self.settings = settings

    def append(self, topic: str, partition: int, *times: int) -> None:
        LogWriter(self.log).append([NewRecord(topic, b"{}", t, partition=partition) for t in times])

    def part(self) -> SourcePart[Position]:
        reading = Reading(**self.settings)  # type: ignore[arg-type]
        return file_source(self.log, b"", reading, self.offsets, self.control, self._seal)

    def _seal(self):  # type: ignore[no-untyped-def]
        def settle() -> None:
            if self.settle_faults:
                raise self.settle_faults.pop(0)

        return settle


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def chunk_of(batch: list[tuple[str, Chunk[LogRecord]]]) -> Chunk[LogRecord]:
    ((key, chunk),) = batch
    assert key == str(chunk.partition)
    return chunk


def drain(part: SourcePart[Position]) -> list[Chunk[LogRecord]]:
    """Runs to the end of the log, with a snapshot after every batch."""
    chunks = []
    while True:
        try:
            batch = part.next_batch()
        except StopIteration:
            return chunks
        chunks += [chunk for _, chunk in batch]
        part.snapshot()


def test_a_log_is_read_to_its_end_and_committed(world: World) -> None:
    world.append(PROMPTS, 0, 1, 2, 3)
    world.append(RESPONSES, 5, 4, 5)
    chunks = drain(world.part())
    assert [(c.partition.topic, len(c.items)) for c in chunks] == [
        (PROMPTS, 3),
        (RESPONSES, 2),
        (PROMPTS, 0),
    ]
    offsets = world.offsets.offsets()
    assert (offsets[PROMPTS, 0], offsets[RESPONSES, 5]) == (3, 2)
    assert drain(world.part())[-1].items == ()
    assert len(drain(world.part())) == 1


def test_partitions_are_read_in_step_by_log_time(world: World) -> None:
    world.settings = {"limit": 2}
    world.append(RESPONSES, 0, 10, 20, 50, 60)
    world.append(RESPONSES, 1, 15, 30, 55, 70)
    chunks = drain(world.part())
    firsts = [c.items[0].origin.timestamp for c in chunks if c.items]
    assert firsts == sorted(firsts) == [10, 15, 50, 55]


def test_prompts_run_ahead_of_responses_by_a_chunk(world: World) -> None:
    world.settings = {"limit": 3}
    world.append(RESPONSES, 0, *range(0, 90, 10))
    world.append(PROMPTS, 0, *range(1, 91, 10))
    chunks = [c for c in drain(world.part()) if c.items]
    seen = 0
    for chunk in chunks[1:]:
        if chunk.partition.topic == PROMPTS:
            seen = max(r.origin.timestamp for r in chunk.items)
        else:
            assert max(r.origin.timestamp for r in chunk.items) <= seen


def test_no_chunk_holds_a_record_older_than_the_watermarks_before_it(world: World) -> None:
    world.settings = {"limit": 2}
    world.append(PROMPTS, 0, 1, 7, 9, 30)
    world.append(PROMPTS, 3, 2, 3, 20, 21)
    world.append(RESPONSES, 1, 5, 25, 26)
    watermark = 0
    for chunk in drain(world.part()):
        assert chunk.log_time >= watermark
        watermark = chunk.log_time
        assert all(r.origin.timestamp >= watermark for r in chunk.items)
    assert watermark == 30


def test_the_last_watermark_is_the_greatest_log_time_ever_also_after_a_restart(
    world: World,
) -> None:
    world.append(PROMPTS, 0, 50, 99, 60)
    assert drain(world.part())[-1].log_time == 99
    world.append(PROMPTS, 0, 70)
    assert drain(world.part())[-1].log_time == 99


def test_an_empty_chunk_follows_as_long_as_something_comes_of_it(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    part = world.part()
    assert chunk_of(part.next_batch()).items
    assert not chunk_of(part.next_batch()).items
    world.control.emitted = 5
    assert not chunk_of(part.next_batch()).items
    assert part.next_batch() == []


def test_chunks_are_bounded_by_count_and_by_work(world: World) -> None:
    world.settings = {"limit": 100, "work": 10.5 * FIRST_EVENT}
    world.append(PROMPTS, 0, *range(9000))
    part = world.part()
    assert len(chunk_of(part.next_batch()).items) == 10
    # It took a hundredth of what was assumed: the next chunks grow, up to the limit.
    for _ in range(20):
        world.control.spent = 10 * FIRST_EVENT / 100
        size = len(chunk_of(part.next_batch()).items)
    assert size == 100
    # One event alone takes longer than a chunk may: one at a time.
    for _ in range(60):
        world.control.spent = size * 20 * FIRST_EVENT
        batch = part.next_batch()
        size = len(chunk_of(batch).items)
        if size == 1:
            break
    assert size == 1


def test_a_chunk_of_several_events_is_bounded_in_bytes(world: World) -> None:
    world.settings = {"limit_bytes": 100, "work": 1_000.0}
    world.append(PROMPTS, 0, *range(10))
    (size,) = {len(c.items) for c in drain(world.part())[:2]}
    assert size == 100 // len(b'{"timestamp":1,"value":"{}"}')
    world.settings["limit_bytes"] = 1
    assert {len(c.items) for c in drain(World(world.log, limit_bytes=1).part())[:10]} == {1}


def test_the_pace_tells_a_cost_per_event_from_a_cost_per_byte() -> None:
    pace = Pace()
    for n in range(50):
        events, size = 10 + n % 7, 1000 * (1 + n % 11)
        pace.observe(events, size, events * 0.002 + size * 0.0001)
    assert pace.estimate(5000) == pytest.approx(0.002 + 0.5, rel=0.02)


def test_a_careful_range_is_read_one_event_at_a_time(world: World) -> None:
    world.settings = {"careful": {Partition(PROMPTS, 0): ((3, 5),)}, "work": 1000.0}
    world.append(PROMPTS, 0, *range(10))
    chunks = [c for c in drain(world.part()) if c.items]
    assert [len(c.items) for c in chunks] == [3, 1, 1, 1, 4]


def test_nothing_is_committed_before_the_batch_after_the_seal(world: World) -> None:
    world.append(PROMPTS, 0, 1, 2)
    part = world.part()
    part.next_batch()
    part.next_batch()
    assert world.offsets.commits == []
    part.snapshot()
    assert world.offsets.commits == []
    part.close()
    assert world.offsets.commits == []


def test_a_seal_holds_what_was_read_before_it_only(world: World) -> None:
    world.settings = {"limit": 2}
    world.append(PROMPTS, 0, 1, 2, 3, 4)
    part = world.part()
    part.next_batch()
    part.snapshot()
    part.next_batch()
    assert world.offsets.offsets()[PROMPTS, 0] == 2


def test_after_a_failure_nothing_is_committed(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    part = world.part()
    part.next_batch()
    part.snapshot()
    world.control.fail(Unavailable("graph", "full"))
    with pytest.raises(AbortExecution):
        part.next_batch()
    assert world.offsets.commits == []


@given(steps=st.lists(st.integers(0, 9), max_size=60))
def test_nothing_is_committed_that_is_not_written(
    steps: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The stages run ahead; writes end in any order, some while nobody looks."""
    world = World(tmp_path_factory.mktemp("log"), limit=2, follow=True)
    world.append(PROMPTS, 0, *range(150))
    part = world.part()
    writes: list[tuple[int, Future[None]]] = []

    def unwritten() -> list[tuple[int, Future[None]]]:
        return [(offset, future) for offset, future in writes if not future.done()]

    def epoch() -> None:
        while len(part._seals) >= MOST_SEALS and unwritten():
            unwritten()[0][1].set_result(None)  # It would be waited for.
        for _, chunk in part.next_batch():
            for record in chunk.items:
                writes.append((record.origin.offset, Future()))
                world.control.unwritten.append(writes[-1][1])
        part.snapshot()
        assert world.offsets.offsets().get((PROMPTS, 0), 0) <= min(
            (offset for offset, _ in unwritten()), default=len(writes)
        )

    for step in steps:
        left = unwritten()
        if step < 5 or not left:
            epoch()
        else:
            left[step % len(left)][1].set_result(None)
    for _, future in unwritten():
        future.set_result(None)
    world.control.stop()
    epoch()
    with pytest.raises(StopIteration):
        epoch()
    assert world.offsets.offsets().get((PROMPTS, 0), 0) == len(writes)


def test_the_stages_run_ahead_by_a_few_epochs_only(world: World) -> None:
    world.settings = {"limit": 1, "follow": True}
    world.append(PROMPTS, 0, *range(20))
    part = world.part()
    first: Future[None] = Future()
    world.control.unwritten.append(first)
    for _ in range(MOST_SEALS + 1):
        part.next_batch()
        part.snapshot()
    waiting = threading.Thread(target=part.next_batch)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert world.offsets.commits == []
    first.set_result(None)
    waiting.join(30)
    assert world.offsets.offsets()[PROMPTS, 0] == MOST_SEALS + 1


def test_a_failed_commit_is_made_good_by_the_next(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    world.offsets.faults = [Unavailable("database", "locked")]
    drain(world.part())
    assert world.offsets.offsets()[PROMPTS, 0] == 1


def test_while_commits_fail_the_health_says_so(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    world.offsets.faults = [Unavailable("database", "locked")] * 2
    seen: list[dict[str, str]] = []
    commit = world.offsets.commit

    def watched(positions: Mapping[Partition, Position]) -> Future[None]:
        seen.append(world.control.troubles)
        return commit(positions)

    world.offsets.commit = watched  # type: ignore[method-assign]
    drain(world.part())
    assert seen == [{}, {"offsets": "locked"}, {"offsets": "locked"}]
    assert world.control.troubles == {}


def test_a_damaged_store_ends_the_worker(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    world.offsets.faults = [Damaged("the database file is damaged (corrupt)")]
    with pytest.raises(AbortExecution):
        drain(world.part())
    assert isinstance(world.control.failure, Damaged)


def test_a_lost_write_sends_the_reader_back_to_what_is_committed(world: World) -> None:
    world.settings = {"limit": 2}
    world.append(PROMPTS, 0, 1, 2, 3, 4)
    part = world.part()
    part.next_batch()
    part.snapshot()
    part.next_batch()
    part.snapshot()
    world.settle_faults = [Unavailable("joins", "full")]
    assert part.next_batch() == []
    again = chunk_of(part.next_batch())
    assert [r.origin.offset for r in again.items] == [2, 3]
    drain(part)
    assert world.offsets.offsets()[PROMPTS, 0] == 4


def test_writes_from_before_a_rewind_bind_the_next_seal(world: World) -> None:
    """An orphan is told of by the joins, not by what is read again."""
    world.settings = {"follow": True}
    world.append(PROMPTS, 0, 1)
    part = world.part()
    settled: list[int] = []
    part._seal = lambda: lambda: settled.append(1)
    part.next_batch()
    orphan: Future[None] = Future()
    world.control.unwritten.append(orphan)
    part.snapshot()
    part.next_batch()
    world.control.dirty = True
    part.next_batch()
    part.snapshot()
    part.next_batch()
    assert settled == []
    orphan.set_result(None)
    part.next_batch()
    assert settled == [1]


def test_what_reading_again_waited_for_is_forgotten_when_it_is_there(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    part = world.part()
    part.next_batch()
    part.snapshot()
    world.settle_faults = [Unavailable("redis", "lost_write")]
    world.offsets.load_faults = [Unavailable("kafka", "timed_out"), Unavailable("topic", "gone")]
    assert part.next_batch() == []
    for waits in ({"kafka": "timed_out"}, {"topic": "gone"}):
        assert part.next_batch() == []
        assert world.control.blocking == waits
    assert len(chunk_of(part.next_batch()).items) == 1
    assert world.control.blocking == {}


def test_a_stop_commits_what_was_read_and_reads_no_more(world: World) -> None:
    world.settings = {"limit": 2, "follow": True}
    world.append(PROMPTS, 0, 1, 2, 3, 4)
    part = world.part()
    part.next_batch()
    world.control.stop()
    assert part.next_batch() == []
    part.snapshot()
    with pytest.raises(StopIteration):
        part.next_batch()
    assert world.offsets.offsets()[PROMPTS, 0] == 2


def test_following_goes_on_with_what_is_appended(world: World) -> None:
    world.settings = {"follow": True}
    part = world.part()
    assert part.next_batch() == []
    assert part.next_awake() is not None
    world.append(PROMPTS, 4, 7)
    assert len(chunk_of(part.next_batch()).items) == 1
    assert chunk_of(part.next_batch()).log_time == 7
    assert part.next_batch() == []
    world.append(RESPONSES, 1, 8)
    assert len(chunk_of(part.next_batch()).items) == 1


def test_a_folder_without_a_log_is_an_error_that_says_what_to_do(world: World) -> None:
    with pytest.raises(NotALog, match="log append"):
        world.part()


def test_a_damaged_line_ends_the_worker_with_its_place(world: World) -> None:
    world.append(PROMPTS, 0, 1)
    path = world.log / PROMPTS / "0" / f"{0:020d}.jsonl"
    with path.open("ab") as file:
        file.write(b"garbage\n")
    part = world.part()
    with pytest.raises(AbortExecution):
        drain(part)
    assert "line 2" in str(world.control.failure)
