"""The one shape that every source of training and test sentences is brought into."""

from __future__ import annotations

from dataclasses import dataclass

LABELS = ("PERSON", "ORGANIZATION", "LOCATION", "STREET_ADDRESS")


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its labelled spans: (start, end, label), code points, half-open, disjoint."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def join(parts: list[tuple[str, str | None]]) -> Example:
    """Concatenate pieces of text, each labelled or not."""
    text: list[str] = []
    spans: list[tuple[int, int, str]] = []
    at = 0
    for piece, label in parts:
        if label is not None and piece:
            spans.append((at, at + len(piece), label))
        text.append(piece)
        at += len(piece)
    return Example("".join(text), tuple(spans))
