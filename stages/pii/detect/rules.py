"""The tables of patterns, read once: rules.toml and secrets.toml, which document their fields."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

SECRET = "SECRET"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of Presidio's recognizers finds an entity, and when it runs."""

    entity: str
    recognizer: str
    gate: str
    window: str
    ceiling: float = 1.0
    context: str | None = None
    required: bool = False


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of one kind of credential."""

    name: str
    pattern: str
    generic: bool = False


def _read(name: str) -> Any:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


ROWS = tuple(msgspec.convert(_read("rules.toml")["rule"], list[Row]))
SECRETS = tuple(msgspec.convert(_read("secrets.toml")["secret"], list[Secret]))
PATTERN_ENTITIES = frozenset({row.entity for row in ROWS} | {SECRET})
