"""How results are printed: tables for people, JSON for machines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from rich import markup
from rich.console import Console
from rich.table import Table

PICO = Decimal(10) ** 12
PLAIN_WIDTH = 160


def console() -> Console:
    """Standard output; plain and wide enough for the tables when it is not a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose number columns are right-aligned; a column is one if its first cell is."""
    rows = [list(r) for r in rows]
    made = Table(title=title or None, title_justify="left", header_style="bold", expand=False)
    for i, name in enumerate(columns):
        numeric = bool(rows) and isinstance(rows[0][i], int | float | Decimal)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell(v) for v in row))
    return made


def cell(value: object) -> str:
    """A value as it stands in a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1 else f"{value:.3f}"
    return escape(str(value))


def escape(text: str) -> str:
    """Text from an event, safe to print: no terminal control characters, no rich markup."""
    cleaned = "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)
    return markup.escape(cleaned)


def usd(pico: int | None) -> str:
    """An amount in 10⁻¹² USD as dollars, exact to the micro-dollar shown."""
    if pico is None:
        return "unpriced"
    return f"${(Decimal(pico) / PICO).quantize(Decimal('0.000001')):,}"


def moment(us: int | None) -> str:
    """Microseconds since 1970 as a readable UTC time."""
    if us is None:
        return "–"
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def shorten(text: str, width: int) -> str:
    """The first ``width`` code points of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
