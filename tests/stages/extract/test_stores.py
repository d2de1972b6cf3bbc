from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunk import Chunk
from schemas.items import Cost, ErrorFacts, Finding, ModelRef, Screened, ScreenedJson, UserFacts
from schemas.log import Origin, Partition
from stages.extract import ExtractStage, digest, mutation_of
from stages.extract.stores import time_ns
from tests.stages.extract.test_graph import ACME, REGISTRY, complete
from tests.stages.screened import GPT, T0_MS, prompt, response, session, session_event, uuid

VECTOR = {"vector": b"\0\0\x80?", "vector_model": "mini"}
PRICED = Cost("priced", 450_000_000, "list-1", "2026-01-01", "provider")


def answer(**other: Any) -> Any:
    facts = {"model": GPT, "registry": REGISTRY, "cost": PRICED, **VECTOR, **other}
    return mutation_of(complete(response(2, 1, latency_ms=800), **facts), "test")


class TestStamp:
    def test_it_says_where_a_record_comes_from(self) -> None:
        event = prompt(1)
        for record in (
            (made := mutation_of(complete(event, **VECTOR), "0.1.0")).graph,
            made.vector,
            made.point,
            made.document,
        ):
            assert record is not None
            stamp = record.stamp
            assert (stamp.kind, stamp.id, stamp.time) == ("prompt", event.id, event.time)
            assert (stamp.origin, stamp.pipeline) == (event.origin, "0.1.0")
            assert (stamp.tenant, stamp.user, stamp.version) == ("acme", "u1", 4)

    def test_the_hash_is_of_content_and_facts_alone(self) -> None:
        event = prompt(1)
        elsewhere = msgspec.structs.replace(event, origin=Origin("x", 9, 9, 9))
        same = digest(complete(elsewhere, version=9, **VECTOR))
        assert same == digest(complete(event))
        for other in (
            complete(prompt(1, "Another?")),
            complete(event, user=UserFacts()),
            complete(event, state="orphan"),
            complete(event, cost=PRICED),
            complete(event, session=session("s9")),
        ):
            assert digest(other) != same

    def test_the_hash_is_of_canonical_json(self) -> None:
        item = complete(prompt(1, "Ünï"))
        event = msgspec.to_builtins(item.event)
        del event["origin"], event["type"]
        content = {
            "event": event,
            "state": item.state,
            **{
                name: msgspec.to_builtins(getattr(item, name))
                for name in ("session", "user", "model", "registry", "cost")
            },
        }
        encoded = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest(item) == hashlib.sha256(encoded.encode()).hexdigest()


class TestVector:
    def test_what_it_carries(self) -> None:
        vector = answer().vector
        assert vector is not None
        assert (vector.values, vector.model) == (VECTOR["vector"], "mini")
        assert vector.text_hash == response(2, 1).text.hash
        assert vector.metadata == {
            "kind": "response",
            "tenant": "acme",
            "session": "s1",
            "user": "u1",
            "model": "gpt-4o",
            "provider": "openai",
            "purpose": "chat",
            "language": "en",
            "time": (T0_MS + 2) * 1000,
        }

    def test_none_without_a_vector_or_while_waiting(self) -> None:
        assert answer(vector=None, vector_model=None).vector is None
        assert answer(state="waiting").vector is None
        assert answer(state="orphan").vector is not None
        assert mutation_of(complete(session_event(1)), "test").vector is None


class TestPoint:
    def test_what_it_carries(self) -> None:
        point = answer().point
        assert point is not None
        assert point.tags == {
            "kind": "response",
            "tenant": "acme",
            "model": "gpt-4o",
            "provider": "openai",
            "purpose": "chat",
            "status": "ok",
        }
        assert point.fields == {
            "event_id": uuid(2),
            "session_id": "s1",
            "user_id": "u1",
            "application_id": "app",
            "text_tokens": 12,
            "token_source": "estimate:cl100k_base",
            "prompt_id": uuid(1),
            "latency_ms": 800,
            "cost_status": "priced",
            "cost_pico_usd": 450_000_000,
            "cost_usd": 0.00045,
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
        }

    def test_none_while_waiting(self) -> None:
        assert answer(state="waiting").point is None

    def test_absent_tags_are_marked_and_told_from_the_mark(self) -> None:
        point = answer(
            state="orphan", session=None, user=UserFacts(), model=None, registry=None
        ).point
        assert point is not None
        assert point.tags == {
            "kind": "response",
            "tenant": "_",
            "model": "_",
            "provider": "_",
            "purpose": "_",
            "status": "orphan",
        }
        odd = answer(user=UserFacts("_", None, True)).point
        assert odd is not None
        assert odd.tags["tenant"] == "%5F"

    def test_the_registry_names_the_provider_where_the_event_does_not(self) -> None:
        point = answer(model=ModelRef(Screened("gpt-4o"))).point
        assert point is not None
        assert point.tags["provider"] == "openai"

    @pytest.mark.parametrize(
        ("event", "status"),
        [
            (prompt(1), "ok"),
            (session_event(1, "archived"), "archived"),
            (response(2, 1, finish_reason="error"), "error"),
            (response(2, 1, error=ErrorFacts()), "error"),
            (response(2, 1, finish_reason="length"), "ok"),
        ],
    )
    def test_status(self, event: Any, status: str) -> None:
        point = mutation_of(complete(event), "test").point
        assert point is not None
        assert point.tags["status"] == status

    def test_time_is_that_of_the_millisecond_and_the_rest_is_of_the_id(self) -> None:
        zero = "00000000-0000-0000-0000-000000000000"
        assert time_ns(1_700_000_000_123_456, zero) == 1_700_000_000_123_000_000
        assert time_ns(0, "00000000-0000-0000-0000-0000000f4241") == 1
        assert time_ns(-1, zero) == -1_000_000

    @given(st.integers(-(2**50), 2**50), st.uuids())
    def test_time_stays_within_its_millisecond(self, time: int, id_: Any) -> None:
        assert time_ns(time, str(id_)) // 1_000_000 == time // 1_000


class TestDocument:
    def test_what_it_carries(self) -> None:
        event = prompt(
            1,
            "Mail <EMAIL_ADDRESS>",
            tags=(Screened("t"),),
            metadata=ScreenedJson(b'{"k":1}'),
            findings=(Finding("EMAIL_ADDRESS", "redact", 1),),
        )
        document = mutation_of(complete(event), "test").document
        assert document.text == "Mail <EMAIL_ADDRESS>"
        assert document.fields == {
            "kind": "prompt",
            "id": uuid(1),
            "time": event.time,
            "state": "complete",
            "status": "ok",
            "session": "s1",
            "user": "u1",
            "application": "app",
            "purpose": "chat",
            "tenant": "acme",
            "organisation": "Acme Ltd",
            "model": "gpt-4o",
            "provider": "openai",
            "tags": ("t",),
            "language": "en",
            "entities": ("EMAIL_ADDRESS",),
            "tokens": 12,
            "metadata": '{"k":1}',
            "template": event.template.id,
        }

    def test_every_version_of_a_response_has_one(self) -> None:
        for state in ("waiting", "orphan", "complete"):
            document = answer(state=state).document
            assert document.fields["state"] == state
            assert document.fields["prompt"] == uuid(1)
            assert document.fields["cost_pico_usd"] == 450_000_000

    def test_without_a_text_it_is_empty(self) -> None:
        assert mutation_of(complete(session_event(1)), "test").document.text == ""
        silent = mutation_of(complete(response(2, 1, None)), "test")
        assert silent.document.text == ""
        assert "language" not in silent.document.fields


def test_extraction_is_pure() -> None:
    items = [complete(prompt(1), **VECTOR), complete(response(2, 1), user=ACME)]
    stage = ExtractStage("test")
    chunk = Chunk(Partition("t", 0), items, 7)
    first, second = stage(chunk), stage(chunk)
    assert first == second
    assert first.passed.log_time == 7
    assert [m.event.id for m in first.passed.items] == [uuid(1), uuid(2)]
