"""Whether a log record holds an event, and which codes a refusal may carry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from schemas import events
from schemas.log import LogRecord
from tests.reference.setup import Setup, micros

Event = dict[str, Any]
KINDS = {"llm.prompts.v1": "prompt", "llm.responses.v1": "response", "llm.sessions.v1": "session"}
_FOLDER = Path(events.__file__).with_name("json")
_SCHEMAS = {
    topic: Draft7Validator(
        json.loads((_FOLDER / f"{kind}_event.json").read_text("utf-8")),
        format_checker=FormatChecker(),
    )
    for topic, kind in KINDS.items()
}
_CODES = {
    "required": "missing_field",
    "type": "wrong_type",
    "enum": "not_allowed",
    "format": "bad_format",
    "pattern": "bad_format",
    "maxLength": "too_long",
    "minimum": "out_of_range",
    "maximum": "out_of_range",
}


def read(record: LogRecord, setup: Setup) -> tuple[Event | None, frozenset[str]]:
    """The event as JSON, or None and every code that fits what is wrong."""
    if record.origin.topic not in KINDS:
        return None, frozenset({"unknown_topic"})
    _, headers, value = record.original.open()
    codes = _version(headers) or _raw(value, setup)
    if codes:
        return None, codes
    event = json.loads(value)
    codes = frozenset(
        code for error in _SCHEMAS[record.origin.topic].iter_errors(event) for code in _code(error)
    )
    if codes:
        return None, codes
    behind = micros(event["timestamp"]) - record.origin.timestamp * 1000
    if behind > setup.ahead_ms * 1000:
        return None, frozenset({"timestamp_too_late"})
    if -behind > setup.behind_ms * 1000:
        return None, frozenset({"timestamp_too_early"})
    return event, frozenset()


def _version(headers: tuple[tuple[str, bytes], ...]) -> frozenset[str]:
    versions = [value for name, value in headers if name == "schema_version"]
    if not versions:
        return frozenset()
    if not re.fullmatch(rb"\d{1,9}(\.\d{1,9}){0,2}", versions[-1]):
        return frozenset({"malformed_schema_version"})
    major = int(versions[-1].split(b".")[0])
    return frozenset() if major == 1 else frozenset({"unsupported_schema_version"})


def _raw(value: bytes, setup: Setup) -> frozenset[str]:
    if len(value) > setup.max_bytes:
        return frozenset({"too_large"})
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return frozenset({"invalid_utf8"})
    found: set[str] = set()

    def unique(pairs: list[tuple[str, Any]]) -> Event:
        if len(dict(pairs)) != len(pairs):
            found.add("duplicate_key")
        return dict(pairs)

    def not_finite(_: str) -> float:
        found.add("not_finite")
        return 0.0

    try:
        tree = json.loads(text, object_pairs_hook=unique, parse_constant=not_finite)
    except RecursionError:
        return frozenset({"too_deep"})
    except ValueError:
        return frozenset({"invalid_json"})
    _walk(tree, 1, setup.max_depth, found)
    return frozenset(found)


def _walk(node: Any, depth: int, limit: int, found: set[str]) -> None:
    if isinstance(node, dict | list):
        if depth > limit:
            found.add("too_deep")
            return
        inner = [*node.keys(), *node.values()] if isinstance(node, dict) else node
        for child in inner:
            _walk(child, depth + 1, limit, found)
    elif isinstance(node, str):
        if any("\ud800" <= c <= "\udfff" for c in node):
            found.add("lone_surrogate")
    elif isinstance(node, int):
        if not -(2**63) <= node < 2**64:
            found.add("number_out_of_range")
    elif isinstance(node, float) and node in (float("inf"), float("-inf")):
        found.add("number_out_of_range")


def _code(error: ValidationError) -> list[str]:
    if error.validator == "anyOf":
        text = error.instance.get("text") if isinstance(error.instance, dict) else None
        return ["empty_text"] if text == "" else []
    return [_CODES[str(error.validator)]]
