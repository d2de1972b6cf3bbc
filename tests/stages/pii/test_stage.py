"""What the pii stage makes of events, part by part."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from schemas.items import Finding, ScreenedPrompt, ScreenedResponse, ScreenedSession
from stages.pii.identifiers import PSEUDONYM, pseudonym
from stages.pii.settings import PiiSettings
from stages.text.normal import collapse, text_hash
from stages.text.template import template_id
from tests.stages.pii.doubles import (
    Names,
    Patterns,
    chunk,
    measured,
    prompt,
    response,
    screen,
    session,
    stage,
)

MAIL = "ada@example.com"
CARD = 4111111111111111


def screened_prompt(wire: dict[str, Any], **how: Any) -> ScreenedPrompt:
    [event] = screen(stage(names=Names(), **how), measured(wire))
    assert isinstance(event, ScreenedPrompt)
    return event


def screened_response(wire: dict[str, Any], **how: Any) -> ScreenedResponse:
    [event] = screen(stage(names=Names(), **how), measured(wire))
    assert isinstance(event, ScreenedResponse)
    return event


def test_redacts_and_flags_and_counts() -> None:
    event = screened_prompt(prompt(f"Ada Lovelace ({MAIL}, {MAIL}) met Alan Turing"))
    assert event.text.text == "Ada Lovelace (<EMAIL_ADDRESS>, <EMAIL_ADDRESS>) met Alan Turing"
    assert event.text.hash == text_hash(event.text.text)
    assert event.text.length == len(event.text.text)
    assert event.findings == (
        Finding("EMAIL_ADDRESS", "redact", 2),
        Finding("PERSON", "flag", 2),
    )
    assert not event.withheld


def test_drop_withholds_the_text_and_its_parameters_and_keeps_the_event() -> None:
    settings = PiiSettings(policies={"CREDIT_CARD": "drop"})
    event = screened_prompt(
        prompt(
            f"Pay with {CARD} for Bob",
            template="Pay with {{card}} for {{who}}",
            parameters={"card": CARD, "who": "Bob", "fast": True},
            metadata={"card": CARD, "channel": "web"},
        ),
        settings=settings,
    )
    assert event.withheld
    assert event.text.text == "[WITHHELD]"
    assert event.template.text == "Pay with {{card}} for {{who}}"
    assert event.template.reproduces is None
    withheld = {"card": "[WITHHELD]", "who": "[WITHHELD]", "fast": True}
    assert json.loads(event.parameters) == withheld
    assert json.loads(event.metadata) == {"card": "[WITHHELD]", "channel": "web"}
    assert event.findings == (Finding("CREDIT_CARD", "drop", 3),)


def test_a_drop_beside_the_text_leaves_the_text() -> None:
    settings = PiiSettings(policies={"CREDIT_CARD": "drop"})
    event = screened_prompt(prompt("Hello", tags=[str(CARD)]), settings=settings)
    assert not event.withheld
    assert event.text.text == "Hello"
    assert event.tags == ("[WITHHELD]",)


def test_identifiers_that_match_become_pseudonyms_and_others_stay() -> None:
    wire = prompt(session={"id": MAIL, "userId": MAIL, "applicationId": "shop", "purpose": "chat"})
    event = screened_prompt(wire)
    assert event.session.user == pseudonym(b"p" * 32, MAIL)
    assert PSEUDONYM.fullmatch(event.session.user)
    assert event.session.id == event.session.user
    assert event.session.application == "shop"
    assert event.findings == (Finding("EMAIL_ADDRESS", "redact", 2),)
    assert stage().screen_identifier(MAIL) == event.session.user
    assert stage().screen_identifier("shop") == "shop"
    assert stage().screen_identifier(event.session.user) == event.session.user


def test_pseudonyms_depend_on_the_key() -> None:
    assert pseudonym(b"a" * 32, MAIL) != pseudonym(b"b" * 32, MAIL)
    assert pseudonym(b"a" * 32, MAIL) != pseudonym(b"a" * 32, MAIL.upper())


def test_names_are_sought_only_in_the_configured_languages() -> None:
    wire = prompt("Ada Lovelace", tags=["Alan Turing"])
    [english, german] = screen(stage(names=Names()), measured(wire), measured(wire, language="de"))
    assert english.findings == (Finding("PERSON", "flag", 1),)
    assert german.findings == ()


def test_a_policy_that_rewrites_names_reads_labels_too() -> None:
    settings = PiiSettings(policies={"PERSON": "redact"})
    event = screened_prompt(prompt("Ada Lovelace", tags=["Alan Turing"]), settings=settings)
    assert event.text.text == "<PERSON>"
    assert event.tags == ("<PERSON>",)


def test_json_inside_strings_is_parsed_before_it_is_read() -> None:
    arguments = '{"to": "ada\\u0040example.com", "n": 4111111111111111, "a": {"b": [null, 1.5]}}'
    nested = json.dumps({"inner": arguments})
    event = screened_response(
        response(
            toolCalls=[
                {
                    "id": "call-1",
                    "type": "function",
                    "function": {"name": "mail", "arguments": arguments},
                },
                {"function": {"arguments": nested}},
                {"function": {"arguments": '{"to": "ada\\u0040example.com", "cut'}},
                {"function": {"arguments": '{"x": "\\ud800", "to": "ada@example.com"}'}},
            ]
        )
    )
    expected = {"to": "<EMAIL_ADDRESS>", "n": "<CREDIT_CARD>", "a": {"b": [None, 1.5]}}
    first, second, third, fourth = (call.arguments or "" for call in event.tool_calls)
    assert json.loads(first) == expected
    assert json.loads(json.loads(second)["inner"]) == expected
    assert third == '{"to": "<EMAIL_ADDRESS>", "cut'
    assert json.loads(fourth) == {"x": "\ufffd", "to": "<EMAIL_ADDRESS>"}
    assert (event.tool_calls[0].id, event.tool_calls[0].name) == ("call-1", "mail")


def test_a_duplicate_key_in_arguments_hides_nothing() -> None:
    arguments = f'{{"a": "{MAIL}", "a": "x"}}'
    event = screened_response(response(functionCall={"name": "f", "arguments": arguments}))
    assert event.tool_calls[0].arguments == '{"a":"x"}'


def test_a_function_call_is_call_0_only_without_tool_calls() -> None:
    call = {"name": "f", "arguments": "{}"}
    only = screened_response(response(functionCall=call))
    assert [(c.index, c.name, c.arguments) for c in only.tool_calls] == [(0, "f", "{}")]
    both = screened_response(response(functionCall=call, toolCalls=[{"id": "a"}, {"id": "b"}]))
    assert [(c.index, c.id, c.name) for c in both.tool_calls] == [(0, "a", None), (1, "b", None)]


def test_metadata_keys_numbers_and_values() -> None:
    event = screened_prompt(
        prompt(
            metadata={
                MAIL: 1,
                "bob@example.com": 2,
                "n": CARD,
                "f": float(CARD),
                "small": 12345,
                "note": "write to Ada Lovelace",
                "ok": True,
                "none": None,
            }
        )
    )
    assert json.loads(event.metadata) == {
        "<EMAIL_ADDRESS>": 1,
        "<EMAIL_ADDRESS> 2": 2,
        "n": "<CREDIT_CARD>",
        "f": "<CREDIT_CARD>",
        "small": 12345,
        "note": "write to Ada Lovelace",
        "ok": True,
        "none": None,
    }
    assert (
        event.metadata
        == json.dumps(json.loads(event.metadata), sort_keys=True, separators=(",", ":")).encode()
    )


def test_a_bare_number_is_read_with_its_key_and_the_key_is_not_kept_in_it() -> None:
    patterns = Patterns()
    [event] = screen(
        stage(patterns), measured(prompt(metadata={"userPhone": "415 555 0123", "x": "415a"}))
    )
    assert isinstance(event, ScreenedPrompt)
    assert "user Phone: 415 555 0123" in patterns.calls[0]
    assert json.loads(event.metadata) == {"userPhone": "415 555 0123", "x": "415a"}


def test_escapes_hide_nothing() -> None:
    for hidden in (
        "ada%40example.com",
        "ada\\u0040example.com",
        "ada\\x40example.com",
        "ada&#64;example.com",
        "ada&#x40;example.com",
        "ada&commat;example.com",
    ):
        assert screened_prompt(prompt(f"<{hidden}>!")).text.text == "<<EMAIL_ADDRESS>>!", hidden


def test_stop_sequences_and_labels_keep_their_blanks() -> None:
    event = screened_prompt(
        prompt(model={"id": "m", "parameters": {"stopSequences": ["\n\n", MAIL], "topK": 40}})
    )
    assert json.loads(event.model.parameters) == {
        "stopSequences": ["\n\n", "<EMAIL_ADDRESS>"],
        "topK": 40,
    }


def test_images_keep_facts_and_never_bytes() -> None:
    data = b"\x89PNG fake bytes"
    encoded = base64.b64encode(data).decode()
    event = screened_prompt(
        prompt(
            "",
            images=[
                {"base64": encoded, "mimeType": "image/png"},
                {"url": f"data:image/png;base64,{encoded}"},
                {"url": "https://bob:secret@cdn.example.com/a.png?user=ada%40example.com"},
                {"url": "data:,Hello%20World"},
            ],
        )
    )
    inline, from_url, remote, plain = event.images
    assert (inline.mime_type, inline.size, inline.url) == ("image/png", len(data), None)
    assert from_url == inline
    assert remote.url == "https://cdn.example.com/a.png?user=<EMAIL_ADDRESS>"
    assert remote.size == 0
    assert (plain.size, plain.url) == (11, None)
    assert len({i.key for i in event.images}) == 3
    assert hashlib.sha256(data).hexdigest() not in repr(event)


def test_data_urls_in_other_texts_are_redacted() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"x" * 60).decode()
    event = screened_prompt(prompt(f"See ![a]({url}).", metadata={"image": {"url": url}}))
    assert event.text.text == "See ![a](<DATA_URL>)."
    assert json.loads(event.metadata) == {"image": {"url": "<DATA_URL>"}}
    assert event.findings == (Finding("DATA_URL", "redact", 2),)


def test_history_links_to_the_text_of_the_last_message() -> None:
    reply = f"Write to {MAIL}"
    wire = prompt(
        context={
            "conversationHistory": [
                {"role": "system", "content": "Be brief"},
                {"role": "robot", "content": reply},
            ]
        }
    )
    answered, asked = screen(stage(), measured(response(reply)), measured(wire))
    assert isinstance(answered, ScreenedResponse)
    assert isinstance(asked, ScreenedPrompt)
    assert asked.history is not None
    assert answered.text is not None
    assert asked.history.last_hash == answered.text.hash
    assert asked.history.last_length == len(collapse(answered.text.text))
    assert (asked.history.messages, asked.history.last_role) == (2, "other")
    lines = f"system:{text_hash('Be brief')}\nother:{answered.text.hash}\n"
    assert asked.history.hash == hashlib.sha256(lines.encode()).hexdigest()


def test_documents_keep_hashes() -> None:
    event = screened_prompt(
        prompt(
            context={
                "documents": [
                    {"id": "d-1", "content": f"by {MAIL}", "relevanceScore": 0.5},
                    {"content": "plain"},
                ],
                "retrievalMethod": "psychic",
            }
        )
    )
    first, second = event.documents
    assert (first.id, first.hash) == ("d-1", text_hash("by <EMAIL_ADDRESS>"))
    assert (first.length, first.score) == (len("by <EMAIL_ADDRESS>"), 0.5)
    assert second.id == second.hash == text_hash("plain")
    assert event.retrieval_method == "other"


def test_templates_own_and_derived() -> None:
    own = screened_prompt(
        prompt(
            f"Mail {MAIL} now",
            template="Mail {{to}} now",
            parameters={"to": MAIL},
        )
    )
    assert own.template.text == "Mail {{to}} now"
    assert own.template.id == template_id("Mail {{to}} now")
    assert (own.template.source, own.template.reproduces) == ("event", True)
    assert json.loads(own.parameters) == {"to": "<EMAIL_ADDRESS>"}
    derived = screened_prompt(prompt(f"Mail {MAIL} at 12:30"))
    assert derived.template.source == "derived"
    assert derived.template.reproduces is None
    assert "example" not in derived.template.text
    assert derived.template.id == template_id(derived.template.text)


def test_a_response_is_mapped() -> None:
    event = screened_response(
        response(
            None,
            finishReason=f"because {MAIL}",
            usage={"promptTokens": 5, "completionTokens": 7, "totalTokens": 12, "cachedTokens": 2},
            metrics={"latency": 100, "ttft": 20, "throughput": 3.5, "cost": 0.25},
            error={"code": "E1", "message": f"no {MAIL}", "type": "t", "recoverable": False},
            session={"id": "s", "userId": "u"},
            model={"id": "m", "provider": "p"},
            traceContext={"traceId": MAIL, "spanId": "b7ad6b7169203331"},
        )
    )
    assert event.text is None
    assert event.prompt_id == "3f0c2c3a-6f3d-4c8e-9a51-0d8f1f0c7a10"
    assert event.finish_reason == "other"
    assert event.finish_reason_original == "because <EMAIL_ADDRESS>"
    assert event.usage is not None
    assert (event.usage.prompt_tokens, event.usage.cached_tokens) == (5, 2)
    assert event.usage.reasoning_tokens == 0
    assert (event.latency_ms, event.ttft_ms, event.throughput) == (100, 20, 3.5)
    assert event.reported_cost == 0.25
    assert event.error is not None
    assert (event.error.code, event.error.message) == ("E1", "no <EMAIL_ADDRESS>")
    assert event.error.recoverable is False
    assert event.session is not None
    assert event.model is not None
    assert (event.session.user, event.model.provider) == ("u", "p")
    assert event.trace is not None
    assert event.trace.trace_id == pseudonym(b"p" * 32, MAIL)
    assert event.trace.span_id == "b7ad6b7169203331"


def test_a_session_is_mapped() -> None:
    wire = session(
        startedAt="1970-01-01T00:00:01Z",
        endedAt="1969-12-31T23:59:59.5+00:00",
        metadata={"a": MAIL},
        tags=["x"],
    )
    [event] = screen(stage(), measured(wire))
    assert isinstance(event, ScreenedSession)
    assert (event.started, event.ended) == (1_000_000, -500_000)
    assert event.status == "completed"
    assert event.metadata == b'{"a":"<EMAIL_ADDRESS>"}'
    assert event.tags == ("x",)


def test_only_the_source_header_is_kept_and_screened() -> None:
    headers = (("x-user", MAIL.encode()), ("source", b"\xff from " + MAIL.encode()))
    [event] = screen(stage(), measured(prompt(), key=MAIL.encode(), headers=headers))
    assert event.source == "\ufffd from <EMAIL_ADDRESS>"


def test_too_deep_values_are_rejected_alone() -> None:
    deep: Any = "x"
    for _ in range(250):
        deep = [deep]
    outcome = stage()(
        chunk(measured(prompt(metadata={"a": deep})), measured(prompt("fine"), offset=1))
    )
    assert [r.code for r in outcome.rejected] == ["too_deep"]
    assert outcome.rejected[0].original is not None
    assert [item.event.origin.offset for item in outcome.passed.items] == [1]


def test_an_embedded_value_nested_too_deeply_is_read_as_text() -> None:
    arguments = "[" * 600 + f'"{MAIL}"' + "]" * 600
    event = screened_response(response(functionCall={"arguments": arguments}))
    assert event.tool_calls[0].arguments == arguments.replace(MAIL, "<EMAIL_ADDRESS>")


def test_segments_seen_before_are_not_scanned_again() -> None:
    patterns, names = Patterns(), Names()
    under_test = stage(patterns, names)
    system = "You are a helpful assistant. " * 20 + MAIL
    for turn in range(3):
        history = [{"role": "system", "content": system}] * (turn + 1)
        screen(
            under_test,
            measured(prompt(f"turn {turn}", context={"conversationHistory": history})),
        )
    assert sum(text == system for call in patterns.calls for text in call) == 1
    assert sum(text == system for call in names.calls for text in call) == 1


def test_one_call_of_each_detector_reads_a_chunk() -> None:
    patterns, names = Patterns(), Names()
    screen(
        stage(patterns, names),
        *(measured(prompt(f"Question {n} of Alan Turing", tags=["a", "b"])) for n in range(20)),
    )
    assert len(patterns.calls) == 1
    assert len(names.calls) == 1
    assert len(set(patterns.calls[0])) == len(patterns.calls[0])


def test_a_detector_that_raises_leaves_nothing_behind() -> None:
    class Broken(Patterns):
        fail = True

        def detect(self, texts: Any, /) -> Any:
            if self.fail:
                raise RuntimeError
            return super().detect(texts)

    patterns = Broken()
    under_test = stage(patterns)
    with pytest.raises(RuntimeError):
        under_test(chunk(measured(prompt(f"first {MAIL}"))))
    patterns.fail = False
    [event] = screen(under_test, measured(prompt(f"second {MAIL}")))
    assert isinstance(event, ScreenedPrompt)
    assert event.text.text == "second <EMAIL_ADDRESS>"
    assert not any("first" in text for call in patterns.calls for text in call)


def test_the_hit_rate_counts_what_was_not_scanned() -> None:
    under_test = stage()
    assert under_test.screener.hit_rate == 0.0
    for _ in range(4):
        screen(under_test, measured(session(tags=["a tag"])))
    assert under_test.screener.hit_rate == pytest.approx(0.75)


def test_the_hit_rate_counts_identifiers_that_were_asked_for_alone() -> None:
    """The users' directory asks for all of its users before the first event."""
    under_test = stage()
    for user in ("a@example.com", "b@example.com", "c@example.com"):
        under_test.screen_identifier(user)
    assert under_test.screener.hit_rate == 0.0
    screen(under_test, measured(session(tags=["a tag"])))
    assert 0.0 <= under_test.screener.hit_rate <= 1.0
