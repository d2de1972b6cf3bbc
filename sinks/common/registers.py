"""Registers of shared nodes: properties for which order of arrival does not count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.records import Register
from sinks.common.stamps import Refusal, encoded, from_json

Registers = dict[str, tuple[str, Any, Any]]
"""By name: mode, what decides (the stamp; for ``min`` and ``max`` the value itself), value."""


def merge(into: Registers, registers: Iterable[Register]) -> None:
    """Merges what one node write brings."""
    for register in registers:
        mode, value = register.mode, register.value
        at: Any
        if mode == "latest":
            at = register.at
        elif value is None:
            continue
        else:
            at = value
        there = into.get(register.name)
        if there is not None:
            before = there[1]
            # Nearly always of one type and different: decided here, without a call.
            if type(at) is type(before) and at != before:
                if (at < before) is not (mode == "min"):
                    continue
            elif not wins((mode, at, value), there):
                continue
        into[register.name] = (mode, at, value)


def merge_stored(into: Registers, stored: str | None) -> None:
    """Merges what is stored of a node."""
    if stored is not None:
        for name, old in from_json(stored).items():
            there = into.get(name)
            if there is None or wins(old, there):
                into[name] = old


def to_stored(registers: Registers) -> str | None:
    """None where there are none."""
    return encoded(registers).decode() if registers else None


def values(stored: str | None) -> dict[str, Any]:
    """The properties that the stored registers stand for."""
    return {} if stored is None else {name: row[2] for name, row in from_json(stored).items()}


def check(registers: Iterable[Register]) -> None:
    """Refuses ``min`` and ``max`` of values without an order."""
    for register in registers:
        if register.mode != "latest" and isinstance(register.value, tuple):
            raise Refusal("bad_value")


def wins(new: Iterable[Any], old: Iterable[Any]) -> bool:
    """Least for ``min``, else greatest; numbers before texts; equals by the value's JSON."""
    mode, new_at, new_value = new
    _, old_at, old_value = old
    if new_at == old_at:
        if type(new_value) is type(old_value) and new_value == old_value:
            return False
        return encoded(new_value) > encoded(old_value)
    new_text, old_text = isinstance(new_at, str), isinstance(old_at, str)
    less = new_at < old_at if new_text == old_text else old_text
    return bool(less if mode == "min" else not less)
