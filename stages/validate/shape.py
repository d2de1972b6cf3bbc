"""A small interpreter of the schema files, for the slow path: it explains, coerces and counts.

The schemas use a part of draft-07 only: type, required, properties, items, anyOf, enum, format,
minLength, maxLength, minItems, minimum, maximum. ``pattern`` stands beside ``format: uuid`` for
validators that know no formats, and says the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas import events
from schemas.failures import Detail
from stages.validate.formats import FORMATS

Schema = Mapping[str, Any]

_FOLDER = Path(events.__file__).with_name("json")
SCHEMAS: dict[str, Schema] = {
    topic: json.loads((_FOLDER / f"{name}_event.json").read_text("utf-8"))
    for topic, name in (
        ("llm.prompts.v1", "prompt"),
        ("llm.responses.v1", "response"),
        ("llm.sessions.v1", "session"),
    )
}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KEYWORDS = {
    "$schema", "$id", "title", "description", "type", "format", "pattern", "enum", "x-open-enum",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "required", "properties", "anyOf",
    "items", "additionalProperties",
}  # fmt: skip


def explain(value: Any, schema: Schema, path: str = "$") -> tuple[str, Detail] | None:
    """The first thing wrong with ``value``: a code and where; None when the schema allows it.

    The path is made of names that the schema knows and of array indices.
    """
    return next(_problems(value, schema, path), None)


def _problems(value: Any, schema: Schema, path: str) -> Iterator[tuple[str, Detail]]:
    kinds = _kinds(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield "wrong_type", Detail(path, " or ".join(kinds))
        return
    if "enum" in schema and value not in schema["enum"]:
        yield "not_allowed", Detail(path, "one of " + ", ".join(schema["enum"]))
    if isinstance(value, str):
        yield from _string(value, schema, path)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int | float):
        if "minimum" in schema and value < schema["minimum"]:
            yield "out_of_range", Detail(path, f"at least {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            yield "out_of_range", Detail(path, f"at most {schema['maximum']}")
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield "out_of_range", Detail(path, f"at least {schema['minItems']} items")
        for index, item in enumerate(value):
            yield from _problems(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from _object(value, schema, path)


def _string(value: str, schema: Schema, path: str) -> Iterator[tuple[str, Detail]]:
    if len(value) < schema.get("minLength", 0):
        yield "empty_text", Detail(path, "a text that is not empty")
    if len(value) > schema.get("maxLength", len(value)):
        yield "too_long", Detail(path, f"at most {schema['maxLength']} characters")
    holds, name = FORMATS.get(schema.get("format", ""), (None, ""))
    if holds is not None and not holds(value):
        yield "bad_format", Detail(path, name)


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[tuple[str, Detail]]:
    for name in schema.get("required", ()):
        if name not in value:
            yield "missing_field", Detail(f"{path}.{name}", "a value")
    for name, inner in schema.get("properties", {}).items():
        if name in value:
            yield from _problems(value[name], inner, f"{path}.{name}")
    alternatives = schema.get("anyOf", ())
    if alternatives and all(explain(value, inner, path) for inner in alternatives):
        yield from _problems(value, alternatives[0], path)


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def whole_numbers(value: Any, schema: Schema) -> Any:
    """``value`` with floats without a fraction as integers, where the schema says integer."""
    if isinstance(value, float):
        return int(value) if "integer" in _kinds(schema) and value.is_integer() else value
    if isinstance(value, list):
        return [whole_numbers(item, schema.get("items", {})) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {k: whole_numbers(v, known[k]) if k in known else v for k, v in value.items()}
    return value


class Names:
    """The field names of a schema, compiled to count the unknown ones of an event fast."""

    __slots__ = ("_inner", "_known")

    def __init__(self, schema: Schema) -> None:
        known = schema["properties"]
        self._known = frozenset(known)
        self._inner: list[tuple[str, bool, Names]] = []
        for name, field in known.items():
            each = "items" in field
            field = field["items"] if each else field
            if "properties" in field:
                self._inner.append((name, each, Names(field)))

    def unknown(self, value: dict[str, Any]) -> int:
        """How many fields of a valid ``value`` the schema does not name, at any depth it names."""
        known = self._known
        count = 0 if known.issuperset(value) else sum(key not in known for key in value)
        for name, each, names in self._inner:
            inner = value.get(name)
            if inner is None:
                continue
            if not each:
                count += names.unknown(inner)
            elif names._inner or not all(map(names._known.issuperset, inner)):
                count += sum(map(names.unknown, inner))
        return count


def keywords(schema: Schema) -> set[str]:
    """The keywords that ``schema`` uses and this module does not interpret."""
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    return (set(schema) - _KEYWORDS).union(*(keywords(s) for s in inner))
