"""Sinks are used from several threads, and closed while they are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from schemas.ports import WRITTEN, Result
from schemas.records import Record
from tests.conformance.harness import Harness
from tests.conformance.records import content, record

WRITERS = 6


def test_concurrent_writers_leave_the_highest_version_of_each(harness: Harness) -> None:
    sink = harness.open()

    def work(writer: int) -> list[Result]:
        # Each writer takes the records in another order and every version in turn.
        numbers = [(7 * n + 11 * writer) % 40 for n in range(40)]
        return [
            result
            for version in range(1, 4)
            for result in sink.write(
                [record(harness.store, n, 1 + (version + writer) % 5) for n in numbers]
            )
        ]

    with ThreadPoolExecutor(WRITERS) as pool:
        results = [result for part in pool.map(work, range(WRITERS)) for result in part]
    assert set(results) == {WRITTEN}
    together = harness.dump()
    wanted = [record(harness.store, n, 5) for n in range(40)]
    found = sink.fetch([r.stamp.record_id for r in wanted])
    assert {key: held.content for key, held in found.items()} == {
        r.stamp.record_id: content(r) for r in wanted
    }
    assert sink.count() == 40
    sink.write(wanted)
    assert harness.dump() == together


def test_readers_beside_a_writer_see_whole_records(harness: Harness) -> None:
    sink = harness.open()
    versions = [record(harness.store, 1, version) for version in range(1, 40)]
    by_version = {r.stamp.version: content(r) for r in versions}
    sink.write(versions[:1])
    done = threading.Event()

    def look() -> int:
        seen = 0
        while not done.is_set():
            (held,) = sink.fetch([versions[0].stamp.record_id]).values()
            assert held.content == by_version[held.stamp.version]
            assert held.stamp.version >= seen
            seen = held.stamp.version
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        for version in versions:
            sink.write([version])
        done.set()
        assert all(reader.result() <= versions[-1].stamp.version for reader in readers)


def test_closing_while_writing_loses_nothing_confirmed(harness: Harness) -> None:
    sink = harness.open()
    started = threading.Barrier(WRITERS + 1)
    closed = threading.Event()

    def work(writer: int) -> list[tuple[Record, Result]]:
        outcomes: list[tuple[Record, Result]] = []
        number = 1_000 * writer
        started.wait()
        after = 0
        while after < 2:
            after += closed.is_set()
            batch = [record(harness.store, number + n) for n in range(5)]
            outcomes += zip(batch, sink.write(batch), strict=True)
            number += 5
        return outcomes

    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(work, writer) for writer in range(WRITERS)]
        started.wait()
        sink.close()
        harness.close()
        closed.set()
        outcomes = [outcome for writer in writers for outcome in writer.result()]
    assert {result.status for _, result in outcomes} <= {"written", "unavailable"}
    assert "unavailable" in {result.status for _, result in outcomes}
    confirmed = [held for held, result in outcomes if result.status == "written"]
    sink = harness.open()
    found = sink.fetch([held.stamp.record_id for held in confirmed])
    assert {key: held.content for key, held in found.items()} == {
        held.stamp.record_id: content(held) for held in confirmed
    }
