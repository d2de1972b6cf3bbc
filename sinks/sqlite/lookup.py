"""Reading many keys in one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

_MOST = 512


def select_in(
    connection: sqlite3.Connection, query: str, keys: Sequence[str | bytes]
) -> list[tuple[Any, ...]]:
    """The rows of ``query``, whose ``{keys}`` stands for the list after IN.

    Keys are padded with NULL (which equals nothing) to a power of two, so that the connection's
    statement cache knows the statement the next time.
    """
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), _MOST):
        part = keys[start : start + _MOST]
        size = 1 << (len(part) - 1).bit_length()
        marks = "?," * (size - 1) + "?"
        values = [*part, *[None] * (size - len(part))]
        rows += connection.execute(query.replace("{keys}", marks), values).fetchall()
    return rows
