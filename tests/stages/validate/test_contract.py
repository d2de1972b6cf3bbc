"""The typed decoder and the schema files give the same verdict on every event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker

from schemas import events
from stages.validate.codes import CODES
from stages.validate.formats import is_date_time, is_uri, is_uuid
from stages.validate.raw import Broken, parse
from stages.validate.shape import SCHEMAS, explain, keywords
from stages.validate.typed import decode
from tests.stages.validate.events import (
    ODD_TIMES,
    ODD_URIS,
    ODD_UUIDS,
    SOUND_TIMES,
    SOUND_URIS,
    broken,
    values,
)

FORMATS = FormatChecker()
ORACLES = {t: Draft7Validator(s, format_checker=FORMATS) for t, s in SCHEMAS.items()}
TOPICS = pytest.mark.parametrize("topic", sorted(SCHEMAS))
MANY = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

DIFFERENCES = {
    "9999-12-31T23:59:59.9999999Z": "rounds up to a year that a datetime cannot hold",
    "2026-01-01T00:00:00Z\n": "the oracle's expression ends in $: it lets a final line feed pass",
    "http://a\n": "the same",
}
"""Values on which the two differ, each with the reason; the oracle takes them, we refuse."""


def ours(event: Any, topic: str) -> tuple[str, str] | None:
    """Code and path of our refusal, None where we take the event."""
    try:
        decode(parse(json.dumps(event).encode(), 64), topic)
    except Broken as refused:
        return refused.code, refused.detail.path
    return None


def leaves(value: Any) -> list[Any]:
    """The scalars inside a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for v in value for leaf in leaves(v)] if isinstance(value, list) else [value]


def check(event: Any, topic: str) -> None:
    allowed = ORACLES[topic].is_valid(event)
    verdict = ours(event, topic)
    if any(leaf in DIFFERENCES for leaf in leaves(event) if isinstance(leaf, str)):
        return
    assert (verdict is None) == allowed, (verdict, event)
    assert verdict is None or (verdict[0] in CODES and verdict[0] != "undecodable")


@TOPICS
@given(data=st.data())
@MANY
def test_events_built_from_the_schema_get_the_same_verdict(topic: str, data: st.DataObject) -> None:
    check(data.draw(values(SCHEMAS[topic])), topic)


@TOPICS
@given(data=st.data())
@MANY
def test_broken_events_get_the_same_verdict(topic: str, data: st.DataObject) -> None:
    check(data.draw(broken(SCHEMAS[topic])), topic)


@TOPICS
@given(data=st.data())
@MANY
def test_the_explanation_names_a_place_that_the_oracle_names_too(
    topic: str, data: st.DataObject
) -> None:
    event = data.draw(broken(SCHEMAS[topic]))
    if any(leaf in DIFFERENCES for leaf in leaves(event) if isinstance(leaf, str)):
        return
    problem = explain(event, SCHEMAS[topic])
    errors = list(ORACLES[topic].iter_errors(event))
    assert (problem is None) == (not errors)
    if problem is not None:
        paths = {error.json_path for error in errors}
        paths |= {inner.json_path for error in errors for inner in error.context or ()}
        code, detail = problem
        parent = detail.path.rpartition(".")[0]
        assert (parent if code == "missing_field" else detail.path) in paths


@TOPICS
def test_both_kinds_of_event_are_generated(topic: str) -> None:
    """Guards the tests above against generators that have gone blind."""
    seen = {True: 0, False: 0}

    @given(data=st.data())
    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    def collect(data: st.DataObject) -> None:
        seen[ours(data.draw(broken(SCHEMAS[topic])), topic) is None] += 1

    collect()
    assert min(seen.values()) > 20


@given(st.one_of(SOUND_TIMES, ODD_TIMES, st.text(alphabet="0129-:TtZz+. ", max_size=26)))
@MANY
def test_date_times(text: str) -> None:
    allowed = FORMATS.conforms(text, "date-time")
    assert is_date_time(text) == (allowed and text not in DIFFERENCES)


@given(st.one_of(SOUND_URIS, ODD_URIS, st.from_regex(r"\A[a-z]:[!-~]{0,9}\Z")))
@MANY
def test_uris(text: str) -> None:
    allowed = FORMATS.conforms(text, "uri")
    assert is_uri(text) == (allowed and text not in DIFFERENCES)


@given(st.one_of(st.uuids().map(str), ODD_UUIDS))
@MANY
def test_uuids(text: str) -> None:
    schema = {
        "format": "uuid",
        "pattern": SCHEMAS["llm.prompts.v1"]["properties"]["eventId"]["pattern"],
    }
    assert is_uuid(text) == Draft7Validator(schema, format_checker=FORMATS).is_valid(text)


@pytest.mark.parametrize("text", DIFFERENCES)
def test_the_listed_differences_are_real(text: str) -> None:
    assert FORMATS.conforms(text, "date-time") or FORMATS.conforms(text, "uri")
    assert not is_date_time(text)
    assert not is_uri(text)


def test_the_oracle_checks_the_formats() -> None:
    """Draft 7's own checker ignores uuid, and uri without an extra package."""
    for name, value in (("uuid", "x"), ("uri", "x"), ("date-time", "x")):
        assert not FORMATS.conforms(value, name)


@TOPICS
def test_the_schemas_are_sound_and_use_only_keywords_that_we_interpret(topic: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[topic])
    assert keywords(SCHEMAS[topic]) == set()


def test_the_open_enumerations_are_those_of_the_schemas() -> None:
    def lists(schema: Any) -> list[frozenset[str]]:
        if isinstance(schema, list):
            return [found for inner in schema for found in lists(inner)]
        if not isinstance(schema, dict):
            return []
        own = [frozenset(schema["x-open-enum"])] if "x-open-enum" in schema else []
        return own + [found for inner in schema.values() for found in lists(inner)]

    assert set(lists(list(SCHEMAS.values()))) == {
        events.PURPOSES,
        events.ROLES,
        events.RETRIEVAL_METHODS,
        events.FINISH_REASONS,
    }


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (("session", "id"), 512),
        (("session", "userId"), 512),
        (("session", "applicationId"), 512),
        (("context", "documents", 0, "id"), 512),
        (("model", "id"), 256),
        (("model", "provider"), 256),
        (("model", "version"), 256),
    ],
)
def test_identifiers_are_bounded_where_the_stores_are(path: tuple[Any, ...], limit: int) -> None:
    """A longer one would be refused by one store and written by the others."""
    event: dict[str, Any] = {
        "eventId": "a3f1c2d4-1111-4222-8333-444455556666",
        "timestamp": "2026-01-01T12:00:00Z",
        "prompt": {"text": "hello"},
        "session": {"id": "s", "userId": "u"},
        "model": {"id": "m"},
        "context": {"documents": [{"id": "d"}]},
    }
    place: Any = event
    for name in path[:-1]:
        place = place[name]
    for length, code in ((limit, None), (limit + 1, "too_long")):
        place[path[-1]] = "界" * length
        check(event, "llm.prompts.v1")
        verdict = ours(event, "llm.prompts.v1")
        assert (verdict and verdict[0]) == code
