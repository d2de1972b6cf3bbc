"""Laws of screening, on texts made of what makes it difficult."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.pii.cache import Generations
from stages.pii.detect import PATTERN_ENTITIES, NameDetector, PatternDetector
from stages.pii.detect.spans import NAME_ENTITIES, Span
from stages.pii.images import DATA_URL
from stages.pii.policies import Policies
from stages.pii.redaction import PLACEHOLDER, redact
from stages.pii.settings import PiiSettings
from stages.pii.views import decoded
from stages.pii.windows import OVERLAP, WINDOW, detect_all, windows
from tests.stages.pii.doubles import measured, prompt, response, screen, stage

PATTERNS = PatternDetector()
NAMES = NameDetector()

PIECES = [
    "ada@example.com", "ada%40example.com", "ada\\u0040example.com", "@", "example.com", "ada",
    "4111 1111 1111 1111", "4111111111111111", "+1 415 555 0123", "(415) 555-0123", "415", "555",
    "078-05-1120", "DE89370400440532013000", "192.168.17.99", "2001:db8::ff00:42:8329",
    "1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "ssn", "phone", "password: hunter2x9z", "passport",
    "AKIAIOSFODNN7EXAMPLE", "<EMAIL_ADDRESS>", "<", ">", "[WITHHELD]", "Ada Lovelace", "London",
    " ", " ", " ", "\n", "\r\n", ".", ",", "-", "/", ":", "\"", "{", "}", "0", "77", "é", "e\u0301",
    "\u3000", "٤١٥", "data:image/png;base64,QUJD", "https://example.com/?q=", "𝟜𝟙𝟝", "\u200b",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map("".join)
# Lone surrogates do not pass validation.
texts = texts.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
values = st.recursive(
    texts | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    | inner.map(json.dumps),
    max_leaves=6,
)  # fmt: skip
REDACT_ALL = PiiSettings(policies=dict.fromkeys(sorted(PATTERN_ENTITIES | NAME_ENTITIES), "redact"))
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("policy", [PiiSettings(), REDACT_ALL])
@given(text=texts)
@relaxed
def test_screening_a_screened_text_changes_nothing(policy: PiiSettings, text: str) -> None:
    [once] = screen(stage(PATTERNS, NAMES, policy), measured(response(text)))
    [twice] = screen(stage(PATTERNS, NAMES, policy), measured(response(once.text.text)))
    assert twice.text.text == once.text.text
    assert not [f for f in twice.findings if f.action != "flag"]


@given(value=values)
@relaxed
def test_screening_screened_metadata_changes_nothing(value: Any) -> None:
    [once] = screen(stage(PATTERNS), measured(prompt(metadata={"a": value})))
    [twice] = screen(stage(PATTERNS), measured(prompt(metadata=json.loads(once.metadata))))
    assert twice.metadata == once.metadata


@given(identifier=texts)
@relaxed
def test_a_screened_identifier_is_stable(identifier: str) -> None:
    once = stage(PATTERNS).screen_identifier(identifier)
    assert stage(PATTERNS).screen_identifier(once) == once


@given(
    events=st.lists(
        st.tuples(texts, texts, texts, values, st.sampled_from(["en", "de"])), max_size=5
    )
)
@relaxed
def test_an_event_does_not_depend_on_its_chunk_or_on_what_came_before(events: list[Any]) -> None:
    items = [
        measured(
            prompt(
                text,
                tags=[tag],
                metadata={"v": value},
                session={"id": identifier, "userId": "u"},
                context={"conversationHistory": [{"role": "user", "content": tag}]},
            ),
            language=language,
            offset=n,
        )
        for n, (text, tag, identifier, value, language) in enumerate(events)
    ]
    warm = stage(PATTERNS, NAMES)
    together = screen(warm, *items)
    assert screen(warm, *items) == together
    assert [screen(stage(PATTERNS, NAMES), item)[0] for item in items] == together


spans = st.builds(
    lambda start, length, entity, score: Span(start, start + length, entity, score),
    st.integers(0, 30),
    st.integers(1, 12),
    st.sampled_from(["EMAIL_ADDRESS", "PHONE_NUMBER", "PERSON", "URL"]),
    st.sampled_from([0.5, 0.9]),
)


@given(found=st.lists(spans, max_size=6), shuffled=st.randoms())
def test_redaction_covers_its_spans_and_nothing_else(found: list[Span], shuffled: Any) -> None:
    text = "".join(chr(0x4E00 + n) for n in range(45))
    action = Policies().action
    done = redact(text, found, action)
    covered = {
        i for s in found if action(s.entity) == "redact" for i in range(s.start, min(s.end, 45))
    }
    kept = "".join(c for i, c in enumerate(text) if i not in covered)
    assert PLACEHOLDER.sub("", done.text) == kept
    strong = sum(action_ == "redact" for _, action_ in done.marks)
    assert len(PLACEHOLDER.findall(done.text)) == strong
    shuffled.shuffle(found)
    assert redact(text, found, action) == done


def test_a_span_beside_a_placeholder_swallows_it() -> None:
    text = "ab <EMAIL_ADDRESS>cd"
    done = redact(text, [Span(16, 20, "PHONE_NUMBER", 1.0)], Policies().action)
    assert done.text == "ab <PHONE_NUMBER>"
    inside = redact(text, [Span(4, 17, "PHONE_NUMBER", 1.0)], Policies().action)
    assert inside == (text, (), False)


@given(length=st.integers(0, 200_000))
def test_windows_cover_a_text(length: int) -> None:
    cut = windows(length)
    assert cut[0][0] == 0
    assert cut[-1][1] == length
    assert all(stop - start <= WINDOW for start, stop in cut)
    assert all(left[1] - right[0] == OVERLAP for left, right in pairwise(cut))


ENTITIES = ["ada@example.com", "4111 1111 1111 1111", "DE89370400440532013000"]
BORDERS = [18_000, 19_000, 20_000, 36_000, 37_000, 38_000]


def _planted(at: dict[int, str]) -> str:
    text = "lorem ipsum dolor sit amet " * 2_000
    for start, piece in at.items():
        text = f"{text[:start]} {piece} {text[start + len(piece) + 2 :]}"
    return text


def _check_windows(text: str) -> None:
    three = ["short", text, text[:5]]
    assert detect_all(PATTERNS.detect, three) == PATTERNS.detect(three)


@pytest.mark.parametrize("entity", ENTITIES)
def test_windows_find_entities_across_their_borders(entity: str) -> None:
    for shift in range(-len(entity) - 2, 3):
        text = _planted({border + shift: entity for border in BORDERS})
        assert len(detect_all(PATTERNS.detect, [text])[0]) == len(BORDERS)
        _check_windows(text)


@given(pieces=st.lists(st.tuples(st.integers(-40, 5), texts), min_size=6, max_size=6))
@settings(deadline=None, max_examples=40)
def test_windows_find_what_one_pass_finds(pieces: list[tuple[int, str]]) -> None:
    _check_windows(
        _planted({border + s: t for border, (s, t) in zip(BORDERS, pieces, strict=True)})
    )


@given(text=texts)
def test_views_map_spans_back(text: str) -> None:
    view = decoded(text)
    if view is None:
        return
    whole = (Span(0, len(view.text), "X", 1.0),)
    assert view.back(whole) == (Span(0, len(text), "X", 1.0),)
    pieces = [Span(i, i + 1, "X", 1.0) for i in range(len(view.text))]
    back = view.back(tuple(pieces))
    assert "".join(text[s.start : s.end] for s in back) == text
    for piece, span in zip(pieces, back, strict=True):
        character = view.text[piece.start]
        assert character == text[span.start : span.end] or span.end - span.start >= 3


@given(
    limit=st.integers(0, 40),
    steps=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=200),
)
def test_the_cache_is_bounded_and_keeps_what_was_used_last(
    limit: int, steps: list[tuple[int, bool]]
) -> None:
    cache: Generations[int, str] = Generations(limit)
    for key, write in steps:
        if write:
            cache.put(key, str(key))
        else:
            assert cache.get(key) in (None, str(key))
        assert len(cache) <= limit
    if limit >= 2:
        cache.put(99, "99")
        assert cache.get(99) == "99"


def test_the_cache_weighs_its_values() -> None:
    cache: Generations[int, str] = Generations(20, len)
    cache.put(1, "x" * 11)
    assert cache.get(1) is None
    for n in range(10):
        cache.put(n, "x" * 5)
    assert len(cache) <= 4


def test_every_entity_has_a_policy() -> None:
    """Those that a detector finds, and the one that the stage finds itself."""
    assert set(Policies.model_fields) == PATTERN_ENTITIES | NAME_ENTITIES | {DATA_URL}
    assert all(PLACEHOLDER.fullmatch(f"<{entity}>") for entity in Policies.model_fields)
    assert Policies().action("SOMETHING_NEW") == "redact"
