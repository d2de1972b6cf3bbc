"""The validate stage record by record: every code, every trap, nothing of the value in a detail."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chunk import Chunk
from schemas.events import MAX_TEXT, PromptEvent, ResponseEvent
from schemas.failures import Rejected
from schemas.items import Decoded
from schemas.log import LogRecord, Origin, Original, Partition
from stages.validate import CODES, Validate, ValidateSettings
from stages.validate.raw import Broken, parse

PROMPTS, RESPONSES, SESSIONS = "llm.prompts.v1", "llm.responses.v1", "llm.sessions.v1"
ID = "A3F1C2D4-1111-4222-8333-444455556666"
NOW = 1_767_268_800_000
PROMPT: dict[str, Any] = {
    "eventId": ID,
    "timestamp": "2026-01-01T12:00:00Z",
    "prompt": {"text": "hello"},
    "session": {"id": "s", "userId": "u"},
    "model": {"id": "gpt-4o"},
}
RESPONSE: dict[str, Any] = {
    "eventId": ID,
    "timestamp": "2026-01-01T12:00:00Z",
    "promptEventId": ID,
    "response": {"text": ""},
}
SESSION: dict[str, Any] = {
    "eventId": ID,
    "timestamp": "2026-01-01T12:00:00Z",
    "session": {"id": "s", "userId": "u"},
    "status": "active",
}


def record(
    value: Any, topic: str = PROMPTS, headers: tuple[tuple[str, bytes], ...] = (), at: int = NOW
) -> LogRecord:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return LogRecord(Origin(topic, 0, 7, at), Original(None, headers, raw))


def passes(value: Any, topic: str = PROMPTS, **more: Any) -> Decoded:
    result = Validate().one(record(value, topic, **more))
    assert isinstance(result, Decoded), result
    return result


def refused(value: Any, topic: str = PROMPTS, **more: Any) -> Rejected:
    result = Validate().one(record(value, topic, **more))
    assert isinstance(result, Rejected), result
    assert result.code in CODES
    return result


def with_text(raw: bytes) -> bytes:
    """The prompt with its text as these raw bytes of a JSON string."""
    return json.dumps(PROMPT).encode().replace(b'"hello"', b'"' + raw + b'"')


def with_extra(raw: bytes) -> bytes:
    """The prompt with an unknown field of this raw JSON."""
    return json.dumps(PROMPT).encode()[:-1] + b', "extra": ' + raw + b"}"


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    holder = copy
    for name in parents:
        holder = holder.setdefault(name, {})
    holder[last] = value
    return copy


RAW = {
    "invalid_utf8": [
        with_text(b"\xff"),
        with_extra(b'"\xed\xa0\x80"'),
        with_extra(b'{"\xc0\xaf": 1}'),
        b"\xff\xfe{\x00}\x00",
    ],
    "invalid_json": [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"'a'",
        b'{"a": 01}',
        b'{"a": 1,}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        with_text(b"a\nb"),
        with_text(b"\\x41"),
        with_extra(b"/* */ 1"),
        with_extra(b"truE"),
    ],
    "not_finite": [with_extra(b"NaN"), with_extra(b"[-Infinity]"), with_extra(b'{"a": Infinity}')],
    "lone_surrogate": [
        with_text(b"\\ud800"),
        with_text(b"\\uDC00 x"),
        with_text(b"\\ud83d\\u0041"),
        with_text(b"\\\\\\ud800"),
        with_extra(b'{"\\udfff": 1}'),
        with_extra(b'"\\ud800\\ud800"'),
    ],
    "number_out_of_range": [
        with_extra(b"18446744073709551616"),
        with_extra(b"-9223372036854775809"),
        with_extra(b"1e400"),
        with_extra(b"[[-1e309]]"),
        with_extra(b"1" * 400),
        with_extra(b"1" * 6000),
    ],
    "too_deep": [
        with_extra(b"[" * 64 + b"]" * 64),
        with_extra(b'{"a":' * 64 + b"1" + b"}" * 64),
        with_extra(b"[" * 100_000 + b"]" * 100_000),
        b"[" * 2000 + b"]" * 2000,
    ],
    "duplicate_key": [
        b'{"eventId": 1, ' + json.dumps(PROMPT).encode()[1:],
        with_extra(b'{"a": 1, "\\u0061": 2}'),
        with_extra(b'{"a" : ":", "b": 1, "a"\n:2}'),
        with_extra(b'[{"x": {"": 1, "": 1}}]'),
        with_extra(b'{"a": "\\u003a", "a": 2}'),
        with_extra(b'{"a": "\\u003A\\u003a", "b": {"c": "::", "c": ":::"}}'),
        with_extra(b'{"\\u003a": 1, ":": 2}'),
    ],
}


@pytest.mark.parametrize(("code", "value"), [(c, v) for c, vs in RAW.items() for v in vs])
def test_what_lenient_parsers_let_pass_is_refused(code: str, value: bytes) -> None:
    assert refused(value).code == code


@pytest.mark.parametrize(
    "value",
    [
        with_text(b"\\ud83d\\ude00"),
        with_text(b"\\\\ud800"),
        with_text(b'\\u003a : \\": {[{['),
        with_text(b"\\u0000"),
        with_text(b"{[" * 500),
        with_extra(b"18446744073709551615"),
        with_extra(b"-9223372036854775808"),
        with_extra(b"1e308"),
        with_extra(b'{"a": {"b": 1}, "b": {"a": 1}}'),
        with_extra(b"[" * 63 + b"]" * 63),
        with_extra(b"[" + b"[]," * 500 + b"{}]"),
        b" \n" + json.dumps(PROMPT, indent=2).encode() + b"\r\n",
    ],
)
def test_what_json_allows_passes(value: bytes) -> None:
    passes(value)


def test_size_limit() -> None:
    stage = Validate(ValidateSettings(max_bytes=200))
    result = stage.one(record(with_text(b"a" * 200)))
    assert isinstance(result, Rejected)
    assert result.code == "too_large"
    assert isinstance(stage.one(record(PROMPT)), Decoded)


COMPLETION = "$.usage.completionTokens"
WRONG = [
    (PROMPTS, changed(PROMPT, "prompt.text", 5), "wrong_type", "$.prompt.text"),
    (PROMPTS, changed(PROMPT, "prompt.text", None), "wrong_type", "$.prompt.text"),
    (PROMPTS, changed(PROMPT, "prompt.text", "a" * (MAX_TEXT + 1)), "too_long", "$.prompt.text"),
    (PROMPTS, changed(PROMPT, "prompt.text", ""), "empty_text", "$.prompt.text"),
    (PROMPTS, changed(PROMPT, "prompt", {"text": "", "images": []}), "empty_text", "$.prompt.text"),
    (PROMPTS, {k: v for k, v in PROMPT.items() if k != "model"}, "missing_field", "$.model"),
    (PROMPTS, changed(PROMPT, "session", {"id": "s"}), "missing_field", "$.session.userId"),
    (PROMPTS, changed(PROMPT, "eventId", ID.replace("-", "")), "bad_format", "$.eventId"),
    (PROMPTS, changed(PROMPT, "timestamp", "2026-01-01T12:00:00"), "bad_format", "$.timestamp"),
    (PROMPTS, changed(PROMPT, "timestamp", "2026-01-01 12:00:00Z"), "bad_format", "$.timestamp"),
    (PROMPTS, changed(PROMPT, "timestamp", 1_767_268_800), "wrong_type", "$.timestamp"),
    (
        PROMPTS,
        changed(PROMPT, "prompt.images", [{"url": "ok:x"}, {"url": "not a uri"}]),
        "bad_format",
        "$.prompt.images[1].url",
    ),
    (
        PROMPTS,
        changed(PROMPT, "model.parameters", {"temperature": 2.5}),
        "out_of_range",
        "$.model.parameters.temperature",
    ),
    (PROMPTS, changed(PROMPT, "tags", ["a", None]), "wrong_type", "$.tags[1]"),
    (RESPONSES, {**RESPONSE, "usage": {"promptTokens": 1}}, "missing_field", COMPLETION),
    (RESPONSES, {**RESPONSE, "metrics": {"latency": 1.5}}, "wrong_type", "$.metrics.latency"),
    (RESPONSES, {**RESPONSE, "metrics": {"latency": True}}, "wrong_type", "$.metrics.latency"),
    (RESPONSES, {**RESPONSE, "metrics": {"latency": 2**63}}, "out_of_range", "$.metrics.latency"),
    (SESSIONS, {**SESSION, "status": "paused"}, "not_allowed", "$.status"),
    (SESSIONS, {**SESSION, "endedAt": "2026-01-01T12:00:00+0000"}, "bad_format", "$.endedAt"),
    (PROMPTS, [PROMPT], "wrong_type", "$"),
    (PROMPTS, None, "wrong_type", "$"),
    (PROMPTS, "{[{[" * 40, "wrong_type", "$"),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "value", "code", "path"), WRONG)
def test_what_the_schema_refuses_is_refused_with_code_and_place(
    topic: str, value: Any, code: str, path: str
) -> None:
    result = refused(value, topic)
    assert (result.code, result.detail.path) == (code, path)


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (PROMPTS, changed(PROMPT, "prompt", {"text": "", "images": [{"base64": "aGk="}]})),
        (PROMPTS, {**PROMPT, "context": None, "tags": None}),
        (PROMPTS, changed(PROMPT, "prompt.text", "a" * MAX_TEXT)),
        (RESPONSES, RESPONSE),
        (RESPONSES, {**RESPONSE, "response": {}}),
        (RESPONSES, {**RESPONSE, "session": PROMPT["session"], "model": PROMPT["model"]}),
        (SESSIONS, {**SESSION, "startedAt": "0001-01-01T00:00:00+01:00"}),
    ],
)
def test_additions_to_the_specification_pass(topic: str, value: Any) -> None:
    passes(value, topic)


def test_whole_numbers_may_be_written_with_a_fraction() -> None:
    usage = {"promptTokens": 10.0, "completionTokens": 2e1, "totalTokens": 30, "cachedTokens": None}
    event = passes({**RESPONSE, "usage": usage}, RESPONSES).event
    assert isinstance(event, ResponseEvent)
    assert event.usage is not None
    assert (event.usage.prompt_tokens, event.usage.completion_tokens) == (10, 20)


def test_ids_are_lower_case_and_time_is_in_microseconds() -> None:
    decoded = passes(changed(RESPONSE, "timestamp", "2026-01-01T13:00:00.000001+01:00"), RESPONSES)
    assert isinstance(decoded.event, ResponseEvent)
    assert decoded.id == decoded.event.event_id == decoded.event.prompt_event_id == ID.lower()
    assert decoded.time == NOW * 1000 + 1
    assert decoded.kind == "response"


def test_unknown_values_of_open_enumerations_become_other() -> None:
    history = [{"role": "narrator", "content": "x"}, {"role": "tool"}, {}]
    event = changed(PROMPT, "session.purpose", "gaming")
    event["context"] = {"conversationHistory": history, "retrievalMethod": "sparse"}
    decoded = passes(event).event
    assert isinstance(decoded, PromptEvent)
    assert decoded.session.purpose == "other"
    assert decoded.context is not None
    assert decoded.context.retrieval_method == "other"
    messages = decoded.context.conversation_history or []
    assert [m.role for m in messages] == ["other", "tool", None]
    assert messages[0].content == "x"


@pytest.mark.parametrize(
    ("reason", "kept", "original"),
    [("tool_calls", "tool_calls", None), ("refusal", "other", "refusal"), (None, None, None)],
)
def test_an_unknown_finish_reason_is_kept_beside(
    reason: str | None, kept: str | None, original: str | None
) -> None:
    decoded = passes({**RESPONSE, "response": {"finishReason": reason}}, RESPONSES)
    assert isinstance(decoded.event, ResponseEvent)
    assert decoded.event.response.finish_reason == kept
    assert decoded.finish_reason_original == original


def test_unknown_fields_are_counted_at_every_known_depth() -> None:
    event = json.loads(json.dumps(PROMPT))
    event["extra"] = {"not": "counted", "inside": 1}
    event["prompt"]["metadata"] = {"free": 1, "form": 2}
    event["session"]["x"] = 1
    event["context"] = {"documents": [{"id": "d", "y": 1, "z": 2}, {}], "w": None}
    assert passes(event).unknown_fields == 5
    assert passes(PROMPT).unknown_fields == 0


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (b"1.0", None), (b"1", None), (b"1.99.3", None),
        (b"2.0", "unsupported_schema_version"), (b"0.9", "unsupported_schema_version"),
        (b"", "malformed_schema_version"), (b"v1", "malformed_schema_version"),
        (b"1.", "malformed_schema_version"), (b"1.0\n", "malformed_schema_version"),
        (b"01", "malformed_schema_version"), (b"\xff", "malformed_schema_version"),
        (b"1" * 5000, "malformed_schema_version"),
    ],
)  # fmt: skip
def test_schema_version(version: bytes, code: str | None) -> None:
    headers = (("other", b"x"), ("schema_version", version))
    if code is None:
        passes(PROMPT, headers=headers)
    else:
        assert refused(PROMPT, headers=headers).code == code


def test_the_last_of_several_versions_counts() -> None:
    headers = (("schema_version", b"2.0"), ("schema_version", b"1.0"))
    passes(PROMPT, headers=headers)


MINUTE, DAY = 60_000, 86_400_000


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (NOW - 5 * MINUTE, None),
        (NOW - 5 * MINUTE - 1, "timestamp_too_late"),
        (NOW + 30 * DAY, None),
        (NOW + 30 * DAY + 1, "timestamp_too_early"),
        (0, "timestamp_too_late"),
    ],
)
def test_the_window_is_relative_to_the_log(at: int, code: str | None) -> None:
    if code is None:
        passes(PROMPT, at=at)
    else:
        result = refused(PROMPT, at=at)
        assert (result.code, result.detail.path) == (code, "$.timestamp")


def test_unknown_topic() -> None:
    assert refused(PROMPT, "llm.other.v1").code == "unknown_topic"


def test_a_rejection_knows_its_event_where_it_can() -> None:
    late = refused({**PROMPT, "session": 5})
    assert (late.event_id, late.kind, late.stage) == (ID.lower(), "prompt", "validate")
    assert refused({**PROMPT, "eventId": "jane@example.org"}).event_id is None
    assert refused(b"{").event_id is None


def test_chunk_in_outcome_out() -> None:
    records = [record(PROMPT), record(b"{"), record(SESSION, SESSIONS)]
    outcome = Validate()(Chunk(Partition(PROMPTS, 0), records, 5))
    assert [d.kind for d in outcome.passed.items] == ["prompt", "session"]
    assert [r.code for r in outcome.rejected] == ["invalid_json"]
    assert outcome.passed.log_time == 5
    assert outcome.rejected[0].original is records[1].original


CANARY = "canary-7d1f"


@pytest.mark.parametrize("topic", [PROMPTS, RESPONSES, SESSIONS])
@pytest.mark.parametrize("name", ["eventId", "timestamp", "prompt", "session", "status", CANARY])
def test_no_value_and_no_unknown_name_reaches_a_rejection(topic: str, name: str) -> None:
    base = {PROMPTS: PROMPT, RESPONSES: RESPONSE, SESSIONS: SESSION}[topic]
    for value in (CANARY, {CANARY: CANARY}, [CANARY]):
        result = Validate().one(record({**base, name: value}, topic))
        if isinstance(result, Rejected):
            shown = msgspec.structs.replace(result, original=None)
            assert CANARY not in repr(shown)
            assert CANARY not in repr(result)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False), st.text(':"\\{[é😀 a', max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(':"a\\', max_size=3), inner, max_size=4),
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
@settings(max_examples=300, deadline=None)
def test_the_raw_pass_gives_what_the_standard_parser_gives(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse(raw, 64) == value


@given(st.lists(st.tuples(st.sampled_from(["a", ":", "b", "\\", '"', "é"]), JSON), max_size=5))
@settings(max_examples=300, deadline=None)
def test_duplicate_keys_are_found_whatever_stands_around_them(pairs: list[tuple[str, Any]]) -> None:
    body = ",".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs)
    raw = f'[{{"x": {{{body}}}}}]'.encode()
    if len({key for key, _ in pairs}) == len(pairs):
        assert parse(raw, 64) == [{"x": dict(pairs)}]
    else:
        with pytest.raises(Broken) as refusal:
            parse(raw, 64)
        assert refusal.value.code == "duplicate_key"


@given(st.binary(max_size=40))
@settings(max_examples=500, deadline=None)
def test_no_bytes_crash_the_stage(value: bytes) -> None:
    assert Validate().one(record(value)) is not None
