"""The file log: what is appended is read back; what is damaged, cut or gone is noticed."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.filelog import (
    START,
    LineDamaged,
    LogEnds,
    LogGap,
    LogShrank,
    LogWriter,
    NewRecord,
    NotALog,
    PartitionReader,
    Position,
    append_events,
    log_ends,
    murmur2,
    partition_of,
    partitions_of,
    remove_consumed,
)
from flows.filelog.layout import create_topic, segment_bases, segment_path
from flows.filelog.reader import BLOCK
from schemas.log import LogRecord, Partition

TOPIC = "llm.prompts.v1"
P0 = Partition(TOPIC, 0)
KEY = b"k" * 32


def record(value: bytes, timestamp: int = 1, **more: object) -> NewRecord:
    return NewRecord(TOPIC, value, timestamp, partition=0, **more)  # type: ignore[arg-type]


def read(reader: PartitionReader, limit: int = 1_000_000) -> list[LogRecord]:
    return reader.take(limit, lambda _: True)


def values(records: list[LogRecord]) -> list[bytes]:
    return [r.original.open()[2] for r in records]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafkas_java_client(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected & 0xFFFFFFFF


def test_a_partition_comes_from_the_key_and_without_one_from_the_value() -> None:
    assert partition_of(b"foobar", b"x", 12) == (-790332482 & 0x7FFFFFFF) % 12
    assert partition_of(None, b"abc", 12) == partition_of(b"abc", b"other", 12)
    assert partition_of(b"", b"abc", 12) == (murmur2(b"") & 0x7FFFFFFF) % 12


octets = st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8"))


@settings(deadline=None, max_examples=60)
@given(
    records=st.lists(
        st.tuples(
            octets,
            st.none() | octets,
            st.lists(st.tuples(st.text(max_size=9), octets), max_size=3),
            st.integers(-(1 << 40), 1 << 45),
        ),
        min_size=1,
        max_size=30,
    ),
    segment=st.integers(1, 400),
    batch=st.integers(1, 7),
)
def test_everything_appended_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, records: list, segment: int, batch: int
) -> None:
    log = tmp_path_factory.mktemp("log")
    new = [record(v, t, key=k, headers=tuple(h)) for v, k, h, t in records]
    origins = []
    for start in range(0, len(new), batch):
        origins += LogWriter(log, segment).append(new[start : start + batch])
    reader = PartitionReader(log, P0, START, KEY)
    found = read(reader)
    assert [r.origin for r in found] == origins
    assert [o.offset for o in origins] == list(range(len(new)))
    assert [r.original.open() for r in found] == [(n.key, n.headers, n.value) for n in new]
    assert [r.origin.timestamp for r in found] == [n.timestamp for n in new]
    # From every position on, the rest comes.
    middle = PartitionReader(log, P0, START, KEY)
    for index in range(len(new)):
        assert values(read(PartitionReader(log, P0, middle.position, KEY))) == [
            n.value for n in new[index:]
        ]
        read(middle, 1)


def test_a_position_says_nothing_of_the_text(tmp_path: Path) -> None:
    LogWriter(tmp_path).append([record(b"secret")])
    reader, other = (PartitionReader(tmp_path, P0, START, k * 32) for k in (b"a", b"b"))
    read(reader), read(other)
    assert reader.position.mark != other.position.mark
    assert len(reader.position.mark) == 16


def test_offsets_go_on_when_another_process_has_appended(tmp_path: Path) -> None:
    one, two = LogWriter(tmp_path), LogWriter(tmp_path)
    offsets = [w.append([record(b"x")])[0].offset for w in (one, two, one, one, two)]
    assert offsets == [0, 1, 2, 3, 4]


def test_appends_from_several_threads_lose_nothing(tmp_path: Path) -> None:
    def append(name: int) -> None:
        writer = LogWriter(tmp_path, 500)
        for n in range(20):
            writer.append([record(f"{name}-{n}".encode())])

    threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    found = values(read(PartitionReader(tmp_path, P0)))
    assert sorted(found) == sorted(f"{a}-{b}".encode() for a in range(4) for b in range(20))


def test_an_append_waits_for_the_lock(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append([record(b"first")])
    done = threading.Event()

    def append() -> None:
        writer.append([record(b"second")])
        done.set()

    with (tmp_path / "append.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=append)
        thread.start()
        assert not done.wait(0.05)
        assert log_ends(tmp_path)[P0] == 1
        fcntl.flock(held, fcntl.LOCK_UN)
        assert done.wait(30)
    thread.join()
    assert log_ends(tmp_path)[P0] == 2


def test_the_log_is_not_readable_to_everybody(tmp_path: Path) -> None:
    log = tmp_path / "log"
    LogWriter(log).append([record(b"x")])
    paths = [segment_path(log, P0, 0), log, log / TOPIC, log / TOPIC / "0"]
    assert {p.stat().st_mode & 0o007 for p in paths} == {0}


def test_a_torn_tail_is_not_read_and_is_cut_by_the_next_append(tmp_path: Path) -> None:
    LogWriter(tmp_path).append([record(b"whole")])
    path = segment_path(tmp_path, P0, 0)
    with path.open("ab") as file:
        file.write(b'{"timestamp":1,"value":"to')
    ends = LogEnds(tmp_path)
    assert ends.measure()[P0] == 1
    reader = PartitionReader(tmp_path, P0)
    assert values(read(reader)) == [b"whole"]
    assert reader.torn == path
    LogWriter(tmp_path).append([record(b"next")])
    assert values(read(reader)) == [b"next"]
    assert reader.torn is None
    assert ends.measure()[P0] == 2
    assert b"to" not in path.read_bytes()


def test_a_reader_follows_across_segments(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, 100)
    reader = PartitionReader(tmp_path, P0)
    for n in range(20):
        writer.append([record(f"{n:060}".encode())])
        assert values(read(reader)) == [f"{n:060}".encode()]
    assert len(segment_bases(tmp_path, P0)) > 5
    assert reader.head() is None


def test_a_long_line_leaves_no_more_than_itself_in_memory(tmp_path: Path) -> None:
    long, short = b"x" * (BLOCK + BLOCK // 4), b"y" * 1_000
    LogWriter(tmp_path).append([record(value) for value in (long, *[short] * 2_000)])
    reader = PartitionReader(tmp_path, P0)
    tracemalloc.start()
    try:
        taken = reader.take(1, lambda _: True)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * len(long)
    assert values(taken) == [long]
    assert values(read(reader)) == [short] * 2_000


def test_taking_is_bounded_but_gives_at_least_one(tmp_path: Path) -> None:
    LogWriter(tmp_path).append([record(b"x" * 100) for _ in range(10)])
    reader = PartitionReader(tmp_path, P0)
    assert len(reader.take(500, lambda _: False)) == 1
    assert len(reader.take(3, lambda _: True)) == 3
    assert reader.offset == 4
    assert reader.position.offset == 4


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b'{"timestamp":1}', b'{"timestamp":"1","value":""}', b"\xff",
     b'{"timestamp":1,"valueBase64":"!"}', b'{"timestamp":1,"value":"x"'],
)  # fmt: skip
def test_a_damaged_line_is_named_by_file_and_number(tmp_path: Path, line: bytes) -> None:
    LogWriter(tmp_path).append([record(b"one")])
    path = segment_path(tmp_path, P0, 0)
    with path.open("ab") as file:
        file.write(line + b"\n")
    reader = PartitionReader(tmp_path, P0)
    with pytest.raises(LineDamaged) as caught:
        read(reader), read(reader)
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert str(path) in str(caught.value)


def consumed(log: Path, count: int) -> Position:
    reader = PartitionReader(log, P0, START, KEY)
    read(reader, count)
    return reader.position


def test_a_log_that_shrank_is_refused(tmp_path: Path) -> None:
    LogWriter(tmp_path).append([record(f"{n}".encode()) for n in range(5)])
    position = consumed(tmp_path, 5)
    path = segment_path(tmp_path, P0, 0)
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(LogShrank, match="ends before"):
        PartitionReader(tmp_path, P0, position, KEY)
    path.unlink()
    with pytest.raises(LogShrank, match="gone"):
        PartitionReader(tmp_path, P0, position, KEY)


def test_a_log_that_was_replaced_is_refused(tmp_path: Path) -> None:
    LogWriter(tmp_path / "a").append([record(f"{n}".encode()) for n in range(5)])
    LogWriter(tmp_path / "b").append([record(f"{n + 1}".encode()) for n in range(5)])
    position = consumed(tmp_path / "a", 3)
    with pytest.raises(LogShrank, match="has changed"):
        PartitionReader(tmp_path / "b", P0, position, KEY)
    assert values(read(PartitionReader(tmp_path / "a", P0, position, KEY))) == [b"3", b"4"]


def test_retention_removes_only_what_is_committed_and_the_rest_is_readable(tmp_path: Path) -> None:
    LogWriter(tmp_path, 200).append([record(f"{n:050}".encode()) for n in range(20)])
    bases = segment_bases(tmp_path, P0)
    position = consumed(tmp_path, bases[3])
    assert remove_consumed(tmp_path, {P0: position.offset}, 1_000_000) == 0
    assert remove_consumed(tmp_path, {P0: position.offset}, 0) == 3
    assert segment_bases(tmp_path, P0) == bases[3:]
    assert len(read(PartitionReader(tmp_path, P0, position, KEY))) == 20 - bases[3]
    with pytest.raises(LogGap, match=f"offsets 0 to {bases[3] - 1}"):
        PartitionReader(tmp_path, P0, START, KEY)
    with pytest.raises(LogGap, match=f"offsets 1 to {bases[3] - 1}"):
        PartitionReader(tmp_path, P0, Position(1, 0, 10), KEY)


def test_the_number_of_partitions_is_fixed_when_a_topic_is_made(tmp_path: Path) -> None:
    LogWriter(tmp_path).append([record(b"x"), NewRecord("other", b"y", 1)])
    assert json.loads((tmp_path / TOPIC / "topic.json").read_bytes())["partitions"] == 12
    assert len(partitions_of(tmp_path, (TOPIC, "other", "absent"))) == 13
    (tmp_path / TOPIC / "topic.json").write_text('{"partitions":3,"format":1}')
    assert create_topic(tmp_path, TOPIC).partitions == 3
    (tmp_path / TOPIC / "topic.json").write_text('{"partitions":3,"format":2}')
    with pytest.raises(NotALog, match="format 2"):
        create_topic(tmp_path, TOPIC)
    (tmp_path / TOPIC / "topic.json").write_text("nonsense")
    with pytest.raises(NotALog, match=r"topic\.json"):
        create_topic(tmp_path, TOPIC)


EVENTS = {
    "llm.prompts.v1": {"prompt": {"text": "q"}, "session": {"id": "s1"}},
    "llm.responses.v1": {"promptEventId": "P", "response": {}},
    "llm.sessions.v1": {"session": {"id": "s1"}, "status": "active"},
}


def test_events_are_routed_by_shape_keyed_and_stamped(tmp_path: Path) -> None:
    stamp = {"timestamp": "2024-01-01T01:00:00.123456+01:00"}
    lines = [json.dumps(event | stamp).encode() for event in EVENTS.values()]
    result = append_events([*lines, b"", lines[0]], tmp_path)
    assert result.topics == {"llm.prompts.v1": 2, "llm.responses.v1": 1, "llm.sessions.v1": 1}
    for topic, key in zip(EVENTS, (b"s1", b"P", b"s1"), strict=True):
        count = create_topic(tmp_path, topic).partitions
        number = partition_of(key, b"", count)
        found = read(PartitionReader(tmp_path, Partition(topic, number)))
        assert {r.original.open()[0] for r in found} == {key}
        assert {r.origin.timestamp for r in found} == {1_704_067_200_123}
        assert values(found)[0] in lines


def test_a_response_that_names_its_session_goes_with_it(tmp_path: Path) -> None:
    event = EVENTS["llm.responses.v1"] | {"session": {"id": "s9"}}
    append_events([json.dumps(event).encode()], tmp_path)
    partition = Partition("llm.responses.v1", partition_of(b"s9", b"", 12))
    assert len(read(PartitionReader(tmp_path, partition))) == 1


def test_lines_that_fit_no_topic_are_refused_with_number_and_reason(tmp_path: Path) -> None:
    good = json.dumps(EVENTS["llm.prompts.v1"]).encode()
    both = json.dumps(EVENTS["llm.prompts.v1"] | EVENTS["llm.responses.v1"]).encode()
    result = append_events([good, b"{nope", b"[1]", b'{"a":"hidden"}', both, b"\xff"], tmp_path)
    assert [r.number for r in result.refused] == [2, 3, 4, 5, 6]
    assert sum(result.topics.values()) == 1
    assert "hidden" not in " ".join(r.reason for r in result.refused)
    forced = append_events([b"{nope", b"\xff", b"7"], tmp_path, topic="llm.sessions.v1")
    assert forced.refused == []
    assert sum(log_ends(tmp_path).values()) == 4


def test_an_event_without_a_readable_time_has_that_of_the_one_before(tmp_path: Path) -> None:
    first = EVENTS["llm.prompts.v1"] | {"timestamp": "2024-01-01T00:00:00Z"}
    broken = [EVENTS["llm.prompts.v1"] | {"timestamp": t} for t in ("x", "2024-01-01T00:00:00", 5)]
    append_events([json.dumps(e).encode() for e in [first, *broken]], tmp_path)
    partition = Partition(TOPIC, partition_of(b"s1", b"", 12))
    found = read(PartitionReader(tmp_path, partition))
    assert [r.origin.timestamp for r in found] == [1_704_067_200_000] * 4
