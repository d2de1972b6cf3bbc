"""Dead letters keep everything and know what became of them, wherever they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.failures import Detail, Rejected
from schemas.log import Origin, Original
from schemas.queues import DeadLetters, Refused
from schemas.records import STORES, Store
from sinks.kafka.queues import KafkaQueues
from sinks.sqlite.database import Database
from sinks.sqlite.deadletters import SqliteDeadLetters
from tests.sinks.kafka.topics import is_queue, own_topics
from tests.sinks.sqlite.records import ORIGIN, record

KEY = bytes(range(32))
ID = "0b9d1f6e-1111-4222-8333-123456789abc"


def raw(value: bytes = b'{"text": "canary-5a3c"}') -> Original:
    return Original(b"canary-5a3c", (("x", b"canary-5a3c"), ("x", b"\xff\x00")), value)


def letter(offset: int = 0, **changes: Any) -> Rejected:
    given = {"code": "bad_json", "detail": Detail("$.session.id", "string"), "original": raw()}
    origin = Origin("llm.prompts.v1", 0, offset, 99)
    return Rejected(stage="validate", origin=origin, **(given | changes))


def numbers(letters: DeadLetters, **filters: Any) -> list[int]:
    return [item.sequence for item in letters.list(**filters)]


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.servers)])
def letters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeadLetters]:
    if request.param == "sqlite":
        database = Database.open(tmp_path / "memory.db")
        yield SqliteDeadLetters(database, KEY)
        database.close()
        return
    # One partition: letters are then in the order in which they were put.
    own = own_topics(request.getfixturevalue("kafka").bootstrap, is_queue, partitions=1)
    queues = KafkaQueues(own, KEY)
    yield queues.letters
    queues.close()


def test_a_letter_is_listed_without_and_opened_with_its_payload(letters: DeadLetters) -> None:
    letters.put([letter(event_id=ID.upper(), kind="prompt")])
    (listed,) = letters.list()
    assert (listed.kind, listed.stage, listed.code) == ("event", "validate", "bad_json")
    assert (listed.path, listed.expected) == ("$.session.id", "string")
    assert (listed.event_id, listed.event_kind, listed.store) == (ID, "prompt", None)
    assert listed.origin == Origin("llm.prompts.v1", 0, 0, 99)
    opened = letters.open(listed.sequence)
    assert isinstance(opened, Original)
    assert opened.open() == raw().open()
    assert letters.get(listed.sequence) == listed == letters.find(listed.origin)


def test_an_id_that_is_none_is_not_shown(letters: DeadLetters) -> None:
    letters.put([letter(event_id="canary-5a3c")])
    assert letters.list()[0].event_id is None


@pytest.mark.parametrize("store", STORES)
def test_a_refused_record_comes_back_whole(letters: DeadLetters, store: Store) -> None:
    refused = Refused(store, record(store), "too_big")
    letters.put([refused])
    (listed,) = letters.list()
    assert (listed.kind, listed.store, listed.origin) == ("record", store, ORIGIN)
    assert letters.open(listed.sequence) == refused
    assert letters.find(ORIGIN, store) == listed
    assert letters.find(ORIGIN) is None


def test_each_store_and_the_event_itself_have_a_letter_of_their_own(letters: DeadLetters) -> None:
    letters.put([Refused(store, record(store), "too_big") for store in STORES])
    letters.put([Rejected("extract", "internal_error", ORIGIN)])
    assert letters.count() == len(STORES) + 1


def test_putting_it_again_changes_its_code_and_opens_it(letters: DeadLetters) -> None:
    letters.put([letter()])
    (first,) = numbers(letters)
    letters.retried(first, "still_bad")
    letters.resolve(first, "discarded")
    assert not letters.list()
    letters.put([letter(code="too_deep", original=raw(b"other"))])
    (listed,) = letters.list()
    assert (listed.sequence, listed.code, listed.retries) == (first, "too_deep", 1)
    opened = letters.open(first)
    assert isinstance(opened, Original)
    assert opened.open() == raw().open()


def test_a_letter_without_original_gets_one_when_it_comes(letters: DeadLetters) -> None:
    letters.put([letter(original=None)])
    (first,) = numbers(letters)
    assert letters.open(first) is None
    letters.put([letter()])
    assert isinstance(letters.open(first), Original)
    letters.put([letter(original=None)])
    assert isinstance(letters.open(first), Original)
    assert letters.open(first + 98) is None


def test_a_newer_version_of_a_refused_record_replaces_the_older(letters: DeadLetters) -> None:
    letters.put([Refused("graph", record("graph", version=1), "one")])
    (first,) = numbers(letters)
    for version, code in ((2, "two"), (1, "three")):
        letters.put([Refused("graph", record("graph", version=version), code)])
    (listed,) = letters.list()
    assert listed.code == "two"
    assert listed.sequence > first
    letters.resolve(first, "written")
    assert letters.count() == 1, "the letter that was replaced is not this one"
    opened = letters.open(listed.sequence)
    assert isinstance(opened, Refused)
    assert opened.record == record("graph", version=2)


def test_resolutions_are_records_too(letters: DeadLetters) -> None:
    letters.put([letter(n) for n in range(3)])
    _, second, third = numbers(letters)
    letters.retried(second, "too_deep")
    letters.retried(second, "too_deep")
    letters.resolve(second, "written")
    letters.resolve(third + 98, "written")
    assert letters.outcomes(second) == [(False, "too_deep"), (False, "too_deep"), (True, "written")]
    assert letters.outcomes(third + 98) == []
    done = letters.get(second)
    assert done is not None
    assert (done.resolved, done.retries) == ("written", 2)
    assert letters.counts() == {"bad_json": 2}
    assert letters.counts(resolved=True) == {"too_deep": 1}


def test_filters_and_pages(letters: DeadLetters) -> None:
    letters.put([letter(0), letter(1, code="too_deep"), letter(2), letter(3)])
    other = Rejected("pii", "bad_json", Origin("llm.responses.v1", 0, 0, 1), original=raw())
    letters.put([other])
    place = {x.origin: x.sequence for x in letters.list()}
    zero, one, two, three = (place[letter(n).origin] for n in range(4))
    fourth = place[other.origin]
    letters.resolve(two, "discarded")

    assert set(numbers(letters)) == {zero, one, three, fourth}
    assert set(numbers(letters, resolved=None)) == {zero, one, two, three, fourth}
    assert numbers(letters, resolved=True) == [two]
    assert set(numbers(letters, code="bad_json")) == {zero, three, fourth}
    assert numbers(letters, stage="pii") == numbers(letters, topic="llm.responses.v1") == [fourth]
    prompts = {"topic": "llm.prompts.v1", "resolved": None}
    assert numbers(letters, code="bad_json", **prompts) == [zero, two, three]
    assert numbers(letters, limit=2, **prompts) == [zero, one]
    assert numbers(letters, after=one, **prompts) == [two, three]
    assert letters.counts() == {"bad_json": 3, "too_deep": 1}


CODES = st.sampled_from(["bad_json", "too_deep", "conflicting_duplicate"])
PUTS = st.tuples(
    st.just("put"),
    st.integers(0, 2),
    CODES,
    st.booleans(),
    st.sampled_from(["", *STORES]),
    st.integers(0, 2),
)
NOTES = st.tuples(st.sampled_from(["retried", "resolved"]), st.integers(0, 5), CODES)
BASE = iter(range(0, 1 << 40, 10))


@pytest.fixture(scope="module")
def both(
    kafka: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DeadLetters, DeadLetters, DeadLetters]]:
    database = Database.open(tmp_path_factory.mktemp("both") / "memory.db")
    own = own_topics(kafka.bootstrap, is_queue)
    writing, reading = KafkaQueues(own, KEY), KafkaQueues(own, KEY)
    yield SqliteDeadLetters(database, KEY), writing.letters, reading.letters
    writing.close()
    reading.close()
    database.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.one_of(PUTS, NOTES), min_size=1, max_size=12))
def test_whatever_happens_to_letters_both_say_the_same(
    both: tuple[DeadLetters, DeadLetters, DeadLetters], steps: list[tuple[Any, ...]]
) -> None:
    sqlite, kafka, reading = both
    base = next(BASE)
    for step in steps:
        for letters in (sqlite, kafka):
            _apply(letters, base, step)
    expected = _state(sqlite, base)
    assert _state(kafka, base) == expected
    assert _state(reading, base) == expected


def _apply(letters: DeadLetters, base: int, step: tuple[Any, ...]) -> None:
    if step[0] == "put":
        _, offset, code, whole, store, version = step
        origin = Origin("llm.prompts.v1", 1, base + offset, 7)
        if store:
            held: Any = record(store, f"{offset}", version)
            stamp = msgspec.structs.replace(held.stamp, origin=origin)
            letters.put([Refused(store, msgspec.structs.replace(held, stamp=stamp), code)])
        else:
            kept = raw(f"{code} {version}".encode()) if whole else None
            letters.put([Rejected("validate", code, origin, original=kept)])
        return
    what, index, text = step
    there = _mine(letters, base)
    if there:
        found = sorted(there, key=lambda x: (x.origin, x.store or ""))[index % len(there)]
        (letters.retried if what == "retried" else letters.resolve)(found.sequence, text)


def _mine(letters: DeadLetters, base: int) -> list[Any]:
    found = letters.list(resolved=None, limit=1 << 40)
    return [x for x in found if base <= x.origin.offset < base + 10]


def _state(letters: DeadLetters, base: int) -> list[Any]:
    """All that can be asked of the letters of one example, without their numbers."""
    state = []
    for found in _mine(letters, base):
        held = letters.open(found.sequence)
        payload = held.open() if isinstance(held, Original) else held
        facts = tuple(getattr(found, name) for name in found.__struct_fields__[1:])
        state.append((facts, letters.outcomes(found.sequence), payload))
    return sorted(state, key=lambda item: (item[0][5], str(item[0][7])))
