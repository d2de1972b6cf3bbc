"""Strategies that build events, valid and broken, from the schema files."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

SOUND_TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.5z",
        "2026-02-28T23:59:59.123456+05:30",
        "2024-02-29T00:00:00-00:00",
        "2026-01-01T00:00:00.123456789Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-23:59",
    ]
)
ODD_TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01_00:00:00Z",
        "2026-01-01T00:00:00+0530",
        "2026-01-01T00:00:00+05",
        "2026-01-01T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00Z\n",
        " 2026-01-01T00:00:00Z",
        "٢٠٢٦-01-01T00:00:00Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01",
        "1767225600",
        "P1D",
    ]
)
ODD_UUIDS = st.sampled_from(
    [
        "a3f1c2d4111142228333444455556666",
        "{a3f1c2d4-1111-4222-8333-444455556666}",
        "urn:uuid:a3f1c2d4-1111-4222-8333-444455556666",
        "a3f1c2d4-1111-4222-8333-444455556666\n",
        "a3f1c2d4-1111-4222-8333-44445555666",
        "a3f1c2d4-1111-4222-8333-4444555566666",
        "a3f1c2d4-1111-4222-8333-4444-55556666",
        "g3f1c2d4-1111-4222-8333-444455556666",
        "a3f1c2d4-1111-4222-8333-44445555_666",
        "a3f1c2d4-1111-4222-8333-44445555666６",
        "a3f1c2d4-1111-4222-8333-4444555K6666",
        "",
    ]
)
SOUND_URIS = st.sampled_from(
    [
        "https://example.org/a%20b?x=1&y=[#f".replace("[", ""),
        "data:image/png;base64,iVBORw0KGgo=",
        "http://[2001:db8::1]:8080/",
        "http://[v1.fe:x]/",
        "mailto:a@example.org",
        "urn:isbn:1",
        "file:///tmp/x",
        "a:",
        "HTTP://user:pw@host:/p//q",
        "x://",
    ]
)
ODD_URIS = st.one_of(
    st.sampled_from(
        [
            "",
            "example.org",
            "//example.org/a",
            "http://exa mple.org",
            "http://é.org",
            "http://[::1",
            "http://[1:2:3]/",
            "http://[fe80::1%25eth0]/",
            "http://a:b",
            "http://a/%zz",
            "1http://a",
            "http://a\n",
            "http://a#b#c",
            "http:\\\\a",
            "a:b:c",
            ":a",
        ]
    ),
    st.text(alphabet="htp:/?#[]@!%20aé.1", max_size=12),
)
ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            None, True, False, 0, 1, -1, 2, 3, 1.0, 1.5, -0.0, -2.5, 1e19, 1e300, 2**63 - 1, 2**63,
            2**64 - 1, -(2**63), "", "x", "1", "é\u0000", "other", [], {}, [None], [{}], [[]], [1],
            ["x"], {"id": None}, {"id": "x", "userId": "y"}, {"text": ""}, {"x": 1}, "active",
        ]
    ),
    ODD_TIMES, ODD_UUIDS, ODD_URIS, SOUND_TIMES, SOUND_URIS,
)  # fmt: skip


def values(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that the schema allows, one kind of its type at a time."""
    kinds = schema.get("type", "null")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of([_of(kind, schema) for kind in kinds])


def _of(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kind == "string":
        return _strings(schema)
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=2)
    if kind == "object":
        return _objects(schema)
    if kind == "boolean":
        return st.booleans()
    if kind == "null":
        return st.none()
    low, high = schema.get("minimum"), schema.get("maximum")
    if kind == "integer":
        whole = st.integers(low, high)
        return st.one_of(whole, st.integers(low, 2**53).map(float)) if low is not None else whole
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def _strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    match schema.get("format"):
        case "uuid":
            return st.one_of(st.uuids().map(str), st.uuids().map(lambda u: str(u).upper()))
        case "date-time":
            return SOUND_TIMES
        case "uri":
            return SOUND_URIS
    known = schema.get("x-open-enum", ["a: {b}", "é😀", ""])
    return st.one_of(st.sampled_from(known), st.text(max_size=6))


def _objects(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = schema.get("properties", {})
    if not fields:
        scalar = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=4))
        return st.dictionaries(st.text(max_size=4), scalar, max_size=2)
    required = {n: values(fields[n]) for n in schema.get("required", ())}
    optional = {n: values(f) for n, f in fields.items() if n not in required}
    return st.fixed_dictionaries(required, optional=optional)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside ``value``."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@st.composite
def broken(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    """An event with one to three of its fields replaced, removed or added."""
    value = copy.deepcopy(draw(values(schema)))
    for _ in range(draw(st.integers(1, 3))):
        spots = places(value)
        if not spots:
            break
        holder, key = draw(st.sampled_from(spots))
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                holder[key] = copy.deepcopy(draw(ODD))
            case "remove":
                del holder[key]
            case _:
                if isinstance(holder, dict):
                    holder[draw(st.sampled_from(["x", "Text", "event_id", "$ref"]))] = (
                        copy.deepcopy(draw(ODD))
                    )
    return value
