"""The contract of :class:`schemas.ports.Sink`, for every sink there is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from schemas.ports import ERASED, WRITTEN, Sink, Unavailable
from schemas.records import STORES, Record, RecordId
from tests.conformance.discovery import label, sink_classes
from tests.conformance.factories import SINKS
from tests.conformance.harness import Harness
from tests.conformance.records import bad, content, identity, record

HOSTILE = (
    "Ünïcödé 你好 👩‍👩‍👧 \u202e\u0000 end",
    "'; DROP TABLE graph_record; --",
    '" OR ""="',
    "{{7*7}} ${jndi:ldap://x} %s %n \\ \\n \\u0000",
    'tag=a,b c\nfield="1"\r\n\t',
    "\ufeff\u200b\ufffd\U0010ffff\ue000",
    "_",
    "%5F/%2F",
    " ",
)


def stored(sink: Sink[Any], *wanted: Record) -> bool:
    """Whether the sink answers exactly these for their ids."""
    found = sink.fetch([r.stamp.record_id for r in wanted])
    return {key: (held.stamp, held.content) for key, held in found.items()} == {
        r.stamp.record_id: (r.stamp, content(r)) for r in wanted
    }


def written(sink: Sink[Any], *wanted: Record) -> bool:
    """Whether the sink writes them all. Raises Unavailable."""
    results = sink.write(wanted)
    for result in results:
        if result.status == "unavailable":
            raise Unavailable(sink.store, result.code)
    return list(results) == [WRITTEN] * len(wanted)


def patiently(asked: Callable[..., bool], *about: Any) -> bool:
    """The answer, once the store has one."""
    while True:
        with contextlib.suppress(Unavailable):
            return asked(*about)


def test_every_sink_has_a_factory_and_every_store_a_sink() -> None:
    found = sink_classes()
    assert {label(sink) for sink in found} == {label(sink) for sink in SINKS}
    assert {sink.store for sink in found} == set(STORES)  # type: ignore[attr-defined]


def test_what_was_written_reads_back(harness: Harness) -> None:
    sink = harness.open()
    wanted = [
        record(harness.store, number, 1 + number % 3, kind)
        for number in range(30)
        for kind in ("prompt", "response", "session")
    ]
    assert list(sink.write(wanted)) == [WRITTEN] * len(wanted)
    assert stored(sink, *wanted)
    assert sink.count() == len(wanted)
    sink = harness.open()
    assert stored(sink, *wanted)
    assert sink.fetch([identity(999), identity(1, "response")]).keys() == {identity(1, "response")}


def test_an_empty_batch_is_nothing(harness: Harness) -> None:
    sink = harness.open()
    assert list(sink.write([])) == []
    assert dict(sink.fetch([])) == {}
    assert list(sink.delete([])) == []
    assert sink.count() == 0


def test_writing_again_changes_nothing(harness: Harness) -> None:
    sink = harness.open()
    batch = [record(harness.store, number) for number in range(20)]
    sink.write(batch)
    before = harness.dump()
    assert list(sink.write(batch + batch[::-1])) == [WRITTEN] * 40
    assert harness.dump() == before
    assert sink.count() == 20


def test_a_higher_version_replaces_a_lower_one_never_the_reverse(harness: Harness) -> None:
    sink = harness.open()
    first, second, third = (record(harness.store, 1, version) for version in (1, 2, 3))
    assert list(sink.write([second])) == [WRITTEN]
    assert list(sink.write([first])) == [WRITTEN]
    assert stored(sink, second)
    assert list(sink.write([third, first])) == [WRITTEN, WRITTEN]
    assert stored(sink, third)
    assert sink.count() == 1


def test_versions_in_one_batch_leave_the_highest(harness: Harness) -> None:
    sink = harness.open()
    batch = [record(harness.store, 1, version) for version in (2, 5, 1, 5, 3)]
    assert list(sink.write(batch)) == [WRITTEN] * 5
    assert stored(sink, batch[1])


def test_kinds_with_one_id_are_different_records(harness: Harness) -> None:
    sink = harness.open()
    both = [record(harness.store, 1, 1, "prompt"), record(harness.store, 1, 4, "response")]
    sink.write(both)
    sink.delete([identity(1, "prompt")])
    assert stored(sink, both[1])
    assert sink.count() == 1


def test_bad_records_are_rejected_and_the_others_written(harness: Harness) -> None:
    sink = harness.open()
    broken = bad(harness.store)
    good = [record(harness.store, number) for number in range(len(broken))]
    mixed = [r for pair in zip(good, broken.values(), strict=True) for r in pair]
    results = sink.write(mixed)
    assert list(results[::2]) == [WRITTEN] * len(good)
    refused = dict(zip(broken, results[1::2], strict=True))
    assert {name: result.status for name, result in refused.items()} == dict.fromkeys(
        broken, "rejected"
    )
    assert all(result.code.isidentifier() and result.code.islower() for result in results[1::2])
    assert stored(sink, *good)
    assert sink.count() == len(good)


def test_a_batch_of_bad_records_alone_is_rejected(harness: Harness) -> None:
    sink = harness.open()
    broken = bad(harness.store).values()
    assert [result.status for result in sink.write(list(broken))] == ["rejected"] * len(broken)
    assert sink.count() == 0


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts_read_back_exactly(harness: Harness, text: str) -> None:
    sink = harness.open()
    wanted = [record(harness.store, 1, text=text), record(harness.store, 2)]
    assert list(sink.write(wanted)) == [WRITTEN, WRITTEN]
    assert stored(sink, *wanted)
    assert list(sink.write([record(harness.store, 1, 2, text=text)])) == [WRITTEN]
    assert stored(sink, record(harness.store, 1, 2, text=text), wanted[1])


def test_tombstones_outlive_replay(harness: Harness) -> None:
    sink = harness.open()
    batch = [record(harness.store, number) for number in range(6)]
    sink.write(batch)
    gone = [identity(0), identity(1), identity(700)]
    assert list(sink.delete(gone)) == [ERASED] * 3
    for version in (1, 9):
        sink = harness.open()
        again = [record(harness.store, number, version) for number in (0, 1, 2)]
        assert list(sink.write(again)) == [ERASED, ERASED, WRITTEN]
        assert list(sink.write([record(harness.store, 700)])) == [ERASED]
        assert not sink.fetch(gone)
        assert sink.count() == 4
    assert list(sink.delete(gone)) == [ERASED] * 3


def test_what_was_erased_is_told_from_what_never_came(harness: Harness) -> None:
    sink = harness.open()
    sink.write([record(harness.store, number) for number in range(4)])
    sink.delete([identity(1), identity(2), identity(7)])
    asked = [*(identity(number) for number in range(9)), identity(1, "response")]
    wanted = {identity(1), identity(2), identity(7)}
    assert sink.erased(asked) == sink.erased([*asked, *asked]) == wanted  # type: ignore[attr-defined]
    assert sink.erased([]) == frozenset()  # type: ignore[attr-defined]
    assert harness.open().erased(asked) == wanted  # type: ignore[attr-defined]


def test_an_id_can_be_erased_before_it_comes(harness: Harness) -> None:
    sink = harness.open()
    assert list(sink.delete([identity(3)])) == [ERASED]
    batch = [record(harness.store, number) for number in range(6)]
    assert [result.status for result in sink.write(batch)].count("erased") == 1
    assert stored(sink, *(r for r in batch if r.stamp.record_id != identity(3)))
    assert sink.count() == 5


def test_what_is_no_identity_is_neither_found_nor_erased(harness: Harness) -> None:
    sink = harness.open()
    sink.write([record(harness.store, 1)])
    strange = [RecordId("prompt", "no id at all"), RecordId("prompt", "\ud800")]
    assert sink.fetch(strange) == {}
    assert [result.status for result in sink.delete(strange)] == ["rejected", "rejected"]
    assert sink.count() == 1


def test_while_it_is_down_records_are_unavailable_and_later_written(harness: Harness) -> None:
    assert harness.outages
    for number, (name, outage) in enumerate(harness.outages.items()):
        sink = harness.open()
        kept = record(harness.store, 2 * number)
        sink.write([kept])
        fresh = [record(harness.store, 2 * number + 1), record(harness.store, 2 * number, 2)]
        broken = next(iter(bad(harness.store).values()))
        with outage():
            sink = harness.current()
            results = sink.write([*fresh, broken])
            assert [r.status for r in results] == ["unavailable", "unavailable", "rejected"], name
            assert all(result.code for result in results)
            assert [r.status for r in sink.delete([identity(2 * number)])] == ["unavailable"]
        # Its calls are still short: on a busy machine the first ones may not come through.
        assert patiently(stored, sink, kept), name
        assert patiently(written, sink, *fresh), name
        assert stored(harness.open(), *fresh)


def test_a_closed_sink_is_unavailable(harness: Harness) -> None:
    sink = harness.open()
    sink.write([record(harness.store, 1)])
    sink.close()
    assert [r.status for r in sink.write([record(harness.store, 2)])] == ["unavailable"]
    assert [r.status for r in sink.delete([identity(1)])] == ["unavailable"]
    with pytest.raises(Unavailable):
        sink.count()
    with pytest.raises(Unavailable):
        sink.fetch([identity(1)])
    sink.close()
    assert stored(harness.open(), record(harness.store, 1))
