"""A unique marker in every string of an event, found by looking at the types; none comes out."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import quote

import msgspec
import pytest
from msgspec import inspect

from schemas.events import PromptEvent, ResponseEvent, SessionEvent, Wire
from schemas.items import Screened
from stages.pii.detect import NameDetector, PatternDetector
from stages.pii.settings import PiiSettings
from stages.pii.stage import PiiStage
from tests.stages.pii.doubles import chunk, measured

PATTERNS = PatternDetector()
NAMES = NameDetector()


class Plant:
    """Makes markers, e-mail addresses and card numbers, and remembers them with their places."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.marked: dict[str, str] = {}

    def mail(self, place: str) -> str:
        n = next(self._numbers)
        marker = f"zq{hashlib.sha256(str(n).encode()).hexdigest()[:9]}@canary{n}.org"
        self.marked[marker] = place
        return marker

    def card(self, place: str) -> int:
        n = next(self._numbers)
        body = f"4{hashlib.sha256(str(n).encode()).digest()[0] % 10}55{n:011d}"
        doubled = (int(d) * (2 - i % 2) for i, d in enumerate(body))
        check = -sum(d - 9 if d > 9 else d for d in doubled) % 10
        self.marked[f"{body}{check}"] = place
        return int(f"{body}{check}")

    def anything(self, place: str) -> dict[str, Any]:
        """A free object: keys, values, lists, numbers, JSON in strings with escapes."""
        inner = {self.mail(f"{place}.json.key"): [self.mail(f"{place}.json"), self.card(place)]}
        return {
            self.mail(f"{place}.key"): self.mail(f"{place}.value"),
            "list": [self.mail(f"{place}.list"), {"deep": self.mail(f"{place}.deep")}],
            "int": self.card(f"{place}.int"),
            "float": float(self.card(f"{place}.float")),
            "digits": str(self.card(f"{place}.digits")),
            "json": json.dumps(inner).replace("@", "\\u0040"),
            "json in json": json.dumps(json.dumps([self.mail(f"{place}.twice")])),
            "escaped": quote(self.mail(f"{place}.escaped")),
            "nothing": None,
            "yes": True,
        }

    def fill(self, type_: inspect.Type, place: str) -> Any:
        """A value of a type with a marker in each of its strings."""
        if isinstance(type_, inspect.StructType):
            return {
                field.encode_name: self._field(field, f"{place}.{field.encode_name}")
                for field in type_.fields
            }
        if isinstance(type_, inspect.UnionType):
            return self.fill(
                next(t for t in type_.types if not isinstance(t, inspect.NoneType)), place
            )
        if isinstance(type_, inspect.ListType):
            return [self.fill(type_.item_type, f"{place}[{n}]") for n in range(2)]
        if isinstance(type_, inspect.DictType):
            return self.anything(place)
        if isinstance(type_, inspect.StrType):
            if type_.pattern is not None:
                return "0123abcd-0000-4000-8000-0123456789ab"
            return f"{self.mail(place)} and {self.card(place)}"
        if isinstance(type_, inspect.DateTimeType):
            return "2026-01-01T00:00:00Z"
        if isinstance(type_, inspect.LiteralType):
            return type_.values[0]
        plain: dict[type, Any] = {
            inspect.BoolType: True,
            inspect.IntType: 1,
            inspect.FloatType: 0.5,
        }
        return plain[type(type_)]

    def _field(self, field: inspect.Field, place: str) -> Any:
        value = self.fill(field.type, place)
        if field.name == "base64":
            return base64.b64encode(str(value).encode()).decode()
        if field.name == "arguments":
            return json.dumps(self.anything(place)).replace("@", "\\u0040")
        return value


def forms(marker: str) -> Iterator[str]:
    """Every guise a marker is searched in, lower-case."""
    raw = marker.encode()
    yield marker
    yield quote(marker, safe="")
    yield json.dumps(marker).strip('"').replace("@", "\\u0040")
    yield raw.hex()
    for digest in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        hashed = hashlib.new(digest, raw)
        yield hashed.hexdigest()[:32]
        yield base64.b64encode(hashed.digest()).decode()[:20].lower()
    for pad in range(3):
        encoded = base64.b64encode(b"\0" * pad + raw).decode()
        yield encoded[(4, 4, 4)[pad] if pad else 0 : -4].lower()


def found(markers: dict[str, str], *haystacks: bytes) -> set[str]:
    """The places whose markers appear in any of the haystacks."""
    lower = [h.lower() for h in haystacks]
    return {
        place
        for marker, place in markers.items()
        if any(form.lower().encode() in hay for form in forms(marker) for hay in lower)
    }


EVENTS: list[type[Wire]] = [PromptEvent, ResponseEvent, SessionEvent]


def planted(event: type[Wire]) -> tuple[Plant, dict[str, Any], tuple[tuple[str, bytes], ...]]:
    plant = Plant()
    wire = plant.fill(inspect.type_info(event), "$")
    headers = (
        ("source", plant.mail("header source").encode()),
        (plant.mail("header name"), plant.mail("header value").encode()),
    )
    return plant, wire, headers


def run(event: type[Wire], settings: PiiSettings) -> tuple[Plant, Any]:
    plant, wire, headers = planted(event)
    return plant, screen(plant, wire, headers, settings)


def screen(
    plant: Plant,
    wire: dict[str, Any],
    headers: tuple[tuple[str, bytes], ...],
    settings: PiiSettings,
) -> Any:
    item = measured(wire, headers=headers, key=plant.mail("record key").encode())
    stage = PiiStage(PATTERNS, NAMES, settings, pseudonym_key=b"p" * 32, image_key=b"i" * 32)
    outcome = stage(chunk(item))
    assert not outcome.rejected
    return outcome.passed.items[0]


def encodings(passed: Any) -> tuple[bytes, ...]:
    return (
        msgspec.json.encode(passed.event),
        msgspec.msgpack.encode(passed.event),
        repr(passed).encode(),
    )


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("action", ["redact", "drop"])
def test_no_marker_comes_out(event: type[Wire], action: Any) -> None:
    policies = dict.fromkeys(("EMAIL_ADDRESS", "CREDIT_CARD"), action)
    plant, passed = run(event, PiiSettings(policies=policies))
    assert found(plant.marked, *encodings(passed)) == set()
    assert sum(f.count for f in passed.event.findings) > 5


def test_no_marker_comes_out_of_a_function_call() -> None:
    plant, wire, headers = planted(ResponseEvent)
    del wire["response"]["toolCalls"]
    passed = screen(plant, wire, headers, PiiSettings())
    assert passed.event.tool_calls[0].arguments
    assert found(plant.marked, *encodings(passed)) == set()


@pytest.mark.parametrize("event", EVENTS)
def test_the_search_finds_what_is_there(event: type[Wire]) -> None:
    """The same search over the raw event finds every marker, so that it can find one at all."""
    plant, wire, headers = planted(event)
    wire["headers"] = [[name, value.decode()] for name, value in headers]
    raw = json.dumps(wire)
    while "\\\\" in raw:
        raw = raw.replace("\\\\", "\\")
    assert found(plant.marked, raw.encode()) == set(plant.marked.values())


@pytest.mark.parametrize("event", EVENTS)
def test_the_search_tells_a_policy_that_keeps_data(event: type[Wire]) -> None:
    policies = dict.fromkeys(("EMAIL_ADDRESS", "CREDIT_CARD"), "flag")
    plant, passed = run(event, PiiSettings.model_validate({"policies": policies}))
    assert found(plant.marked, msgspec.msgpack.encode(passed.event))


def test_every_string_field_of_the_result_is_screened_or_ours() -> None:
    """A field of a plain string type in a screened event is one of these, made by us alone."""
    ours = {
        "id", "hash", "purpose", "source", "last_hash", "last_role", "key", "entity", "action",
        "finish_reason", "retrieval_method", "status", "prompt_id", "topic", "language",
        "token_source",
    }  # fmt: skip
    from schemas import items

    seen: set[str] = set()
    for name in ("ScreenedPrompt", "ScreenedResponse", "ScreenedSession"):
        _plain_strings(getattr(items, name), seen)
    assert seen <= ours


def _plain_strings(type_: Any, seen: set[str]) -> None:
    for name, hint in _hints(type_).items():
        for part in _parts(hint):
            if part is str:
                seen.add(name)
            elif isinstance(part, type) and issubclass(part, msgspec.Struct):
                _plain_strings(part, seen)


def _hints(type_: Any) -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(type_)


def _parts(hint: Any) -> Iterator[Any]:
    if hint is Screened:
        return
    args = get_args(hint)
    if not args:
        yield hint
    for arg in args:
        yield from _parts(arg)
