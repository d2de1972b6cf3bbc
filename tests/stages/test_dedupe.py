"""Duplicates go, replays and new events pass, conflicts are dead letters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chunk import Chunk, Outcome
from schemas.items import Decoded
from schemas.log import LogRecord, Origin, Original, Partition
from schemas.records import RecordId
from stages.dedupe import CODES, Dedupe, content_hash
from stages.validate import Validate
from tests.stages.twins import MemoryClaims

TOPIC, KEY, NOW = "llm.prompts.v1", b"k" * 32, 1_767_268_800_000
IDS = [f"a3f1c2d4-1111-4222-8333-44445555666{i}" for i in range(4)]
HOUR = 3_600_000


def event(number: int = 0, text: str = "hello", **more: Any) -> dict[str, Any]:
    return {
        "eventId": IDS[number],
        "timestamp": "2026-01-01T12:00:00Z",
        "prompt": {"text": text},
        "session": {"id": "s", "userId": "u"},
        "model": {"id": "gpt-4o"},
        **more,
    }


def decoded(value: dict[str, Any] | bytes, offset: int = 0, at: int = NOW) -> Decoded:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    topic = "llm.responses.v1" if b"promptEventId" in raw else TOPIC
    result = Validate().one(LogRecord(Origin(topic, 0, offset, at), Original(None, (), raw)))
    assert isinstance(result, Decoded), result
    return result


def run(claims: MemoryClaims, *items: Decoded) -> Outcome[Decoded]:
    return Dedupe(claims, KEY)(Chunk(Partition(TOPIC, 0), items))


def test_new_events_and_replays_pass_and_duplicates_are_counted() -> None:
    claims = MemoryClaims()
    first = decoded(event(0), 0)
    assert run(claims, first).passed.items == [first]
    again = run(claims, first, decoded(event(0), 1), decoded(event(1), 2))
    assert [d.origin.offset for d in again.passed.items] == [0, 2]
    assert (again.duplicates, again.rejected) == (1, ())


def test_two_of_one_id_in_one_chunk() -> None:
    same = [decoded(event(0), i) for i in range(3)]
    other = decoded(event(0, "other"), 3)
    outcome = run(MemoryClaims(), *same, other)
    assert outcome.passed.items == same[:1]
    assert outcome.duplicates == 2
    assert [(r.code, r.origin.offset, r.event_id) for r in outcome.rejected] == [
        ("conflicting_duplicate", 3, IDS[0])
    ]
    assert outcome.rejected[0].original is other.original
    assert outcome.rejected[0].code in CODES


def test_a_response_may_reuse_its_prompts_id() -> None:
    response = {"eventId": IDS[0], "timestamp": "2026-01-01T12:00:00Z"}
    response |= {"promptEventId": IDS[0], "response": {}}
    outcome = run(MemoryClaims(), decoded(event(0)), decoded(response, 0))
    assert len(outcome.passed.items) == 2


def test_a_released_claim_lets_the_event_in_again() -> None:
    claims = MemoryClaims()
    first, second = decoded(event(0), 0), decoded(event(0), 1)
    run(claims, first)
    claims.release([(RecordId("prompt", IDS[0]), second.origin)])
    assert run(claims, second).duplicates == 1
    claims.release([(RecordId("prompt", IDS[0]), first.origin)])
    assert run(claims, second).passed.items == [second]


def test_a_claim_ends_in_log_time() -> None:
    claims = MemoryClaims()
    run(claims, decoded(event(0), 0))
    assert run(claims, decoded(event(0), 1, NOW + HOUR)).duplicates == 1
    assert len(run(claims, decoded(event(0), 2, NOW + HOUR + 1)).passed.items) == 1


def test_claims_fail_open_and_are_counted() -> None:
    claims, counted = MemoryClaims(), list[int]()
    stage = Dedupe(claims, KEY, counted.append)
    chunk = Chunk(Partition(TOPIC, 0), [decoded(event(0), 0), decoded(event(0), 1)])
    claims.down = True
    assert stage(chunk).passed is chunk
    assert Dedupe(claims, KEY)(chunk).passed is chunk
    claims.down = False
    assert stage(chunk).duplicates == 1
    assert counted == [2]


def test_the_form_of_an_event_is_not_its_content() -> None:
    one = event(0, "é: 1", model={"id": "m", "parameters": {"temperature": 1, "topK": 2}})
    one["prompt"]["parameters"] = {"a": 1, "b": 2}
    two = event(0, "é: 1", model={"parameters": {"topK": 2.0, "temperature": 1.0}, "id": "m"})
    two["prompt"]["parameters"] = {"b": 2, "a": 1}
    two |= {"eventId": IDS[0].upper(), "tags": None, "unknown": 1}
    forms = [
        json.dumps(one).encode(),
        json.dumps(one, ensure_ascii=False, indent=1, sort_keys=True).encode(),
        json.dumps(two).encode(),
    ]
    assert len({content_hash(decoded(form), KEY) for form in forms}) == 1


@pytest.mark.parametrize(
    "other",
    [event(0, "hello "), event(0, tags=[]), event(0, tags=["a"]), event(0, traceContext={})],
)
def test_other_content_has_another_hash(other: dict[str, Any]) -> None:
    assert content_hash(decoded(event(0)), KEY) != content_hash(decoded(other), KEY)


def test_the_hash_depends_on_the_key() -> None:
    item = decoded(event(0))
    assert content_hash(item, KEY) != content_hash(item, b"j" * 32)
    with pytest.raises(ValueError):
        Dedupe(MemoryClaims(), b"short")


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_how_a_log_is_cut_into_chunks_and_replayed_changes_nothing(
    log: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Of every id the first delivery passes; the rest is as its content says."""
    items = [decoded(event(n, text), offset) for offset, (n, text) in enumerate(log)]
    winners: dict[int, int] = {}
    for offset, (n, _) in enumerate(log):
        winners.setdefault(n, offset)
    claims = MemoryClaims()
    passed, rejected, position = set[int](), set[int](), 0
    for _ in range(data.draw(st.integers(0, 3))):
        outcome = run(claims, *items[: data.draw(st.integers(0, len(items)))])
        passed |= {d.origin.offset for d in outcome.passed.items}
    while position < len(items):
        size = data.draw(st.integers(1, 5))
        outcome = run(claims, *items[position : position + size])
        passed |= {d.origin.offset for d in outcome.passed.items}
        rejected |= {r.origin.offset for r in outcome.rejected}
        position += size
    assert passed == set(winners.values())
    assert rejected == {o for o, (n, text) in enumerate(log) if text != log[winners[n]][1]}
