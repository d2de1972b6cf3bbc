from __future__ import annotations

from datetime import UTC, datetime

from schemas.chunk import Chunk
from schemas.events import (
    Event,
    Model,
    PromptBody,
    PromptEvent,
    ResponseBody,
    ResponseEvent,
    Session,
    SessionEvent,
    Usage,
)
from schemas.items import Decoded, Measured, TextFacts
from schemas.log import Origin, Original, Partition
from stages.text import TextStage, count_tokens, detect_language

ID = "00000000-0000-0000-0000-000000000001"
TIME = datetime(2026, 1, 2, tzinfo=UTC)
SESSION = Session(id="s", user_id="u")
TEXT = "Where does the cafe\u0301 on the corner get its coffee from? \r\n"
NORMAL = "Where does the café on the corner get its coffee from?"


def prompt(text: str, model: str = "gpt-4o", provider: str | None = "openai") -> PromptEvent:
    return PromptEvent(
        event_id=ID,
        timestamp=TIME,
        prompt=PromptBody(text=text),
        session=SESSION,
        model=Model(id=model, provider=provider),
    )


def response(
    text: str | None, usage: Usage | None = None, model: Model | None = None
) -> ResponseEvent:
    return ResponseEvent(
        event_id=ID,
        timestamp=TIME,
        prompt_event_id=ID,
        response=ResponseBody(text=text),
        usage=usage,
        model=model,
    )


def run(*events: Event) -> list[Measured]:
    items = [
        Decoded(
            kind="prompt",
            id=ID,
            time=0,
            event=event,
            origin=Origin("t", 0, offset, 0),
            original=Original(None, (), b"{}"),
        )
        for offset, event in enumerate(events)
    ]
    chunk = Chunk(Partition("t", 0), items, log_time=5)
    outcome = TextStage()(chunk)
    assert (outcome.passed.partition, outcome.passed.log_time) == (Partition("t", 0), 5)
    assert outcome.rejected == ()
    assert [item.decoded for item in outcome.passed.items] == items
    return list(outcome.passed.items)


def test_a_prompt_is_normalised_and_measured() -> None:
    (measured,) = run(prompt(TEXT))
    assert measured.text == NORMAL
    language, confidence = detect_language(NORMAL)
    assert measured.facts == TextFacts(
        language="en",
        language_confidence=confidence,
        tokens=count_tokens(NORMAL, "gpt-4o", "openai").tokens,
        token_source="tokenizer:o200k_base",
        characters=len(NORMAL),
    )
    assert language == "en"


def test_the_models_own_encoding_counts_where_it_is_at_hand() -> None:
    sources = [
        item.facts.token_source
        for item in run(
            prompt("hi", "gpt-4"), prompt("hi", "claude-3", "anthropic"), prompt("hi", "gpt-99")
        )
    ]
    assert sources == ["tokenizer:cl100k_base", "estimate:cl100k_base", "estimate:o200k_base"]


def test_the_providers_figure_wins() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=7_777, total_tokens=7_782)
    with_usage, without, own = run(
        response(TEXT, usage), response(TEXT), response(TEXT, model=Model(id="gpt-4o"))
    )
    assert (with_usage.facts.tokens, with_usage.facts.token_source) == (7_777, "provider")
    assert with_usage.text == NORMAL
    expected = count_tokens(NORMAL, None, None)
    assert (without.facts.tokens, without.facts.token_source) == expected
    assert own.facts.token_source == "tokenizer:o200k_base"


def test_absent_and_empty_texts() -> None:
    session = SessionEvent(event_id=ID, timestamp=TIME, session=SESSION, status="active")
    usage = Usage(prompt_tokens=5, completion_tokens=9, total_tokens=14)
    nothing, tools, empty, of_session = run(
        response(None), response(None, usage), prompt(""), session
    )
    assert (nothing.text, nothing.facts) == (None, TextFacts())
    assert (tools.text, tools.facts.tokens, tools.facts.token_source) == (None, 9, "provider")
    assert (empty.text, empty.facts.tokens, empty.facts.language) == ("", 0, "und")
    assert (of_session.text, of_session.facts) == (None, TextFacts())
