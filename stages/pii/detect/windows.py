"""The pieces of a text around the places where a recognizer's gate matches.

A recognizer may run on these pieces alone because no match of it crosses their edges, and
because it looks at most one character beyond a match, where an edge and white space are alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import regex  # type: ignore[import-untyped]

Windows = Callable[[Any, str], Iterator[tuple[int, int]]]

_SPACES = " \t\r\f\v"
# Letters that no extension label of a phone number (ext, extension, int, anexo, x) contains.
_STOP = "[b-df-hj-mp-ru-wyzB-DF-HJ-MP-RU-WYZ\\n]"
_NEXT_STOP = re.compile(_STOP)
_LAST_STOP = regex.compile(f"(?r){_STOP}")
_SPACE = re.compile(f"[{_SPACES}\n]")


def whole(_gate: Any, text: str) -> Iterator[tuple[int, int]]:
    """The text itself."""
    yield 0, len(text)


def lines(gate: Any, text: str) -> Iterator[tuple[int, int]]:
    """Lines, ended by LF, with a gate match; gates match no LF."""
    stop = -1
    for match in gate.finditer(text):
        start, end = match.span()
        if end > stop:
            stop = text.find("\n", end)
            stop = len(text) if stop < 0 else stop
            yield text.rfind("\n", 0, start) + 1, stop


def words(gate: Any, text: str) -> Iterator[tuple[int, int]]:
    """Runs without ASCII white space that hold a gate match; gates match no white space."""
    stop = -1
    for match in gate.finditer(text):
        start, end = match.span()
        if end > stop:
            line = text.rfind("\n", 0, start) + 1
            begin = max(text.rfind(space, line, start) + 1 for space in _SPACES)
            space = _SPACE.search(text, end)
            stop = len(text) if space is None else space.start()
            yield max(begin, line), stop


def numbers(gate: Any, text: str) -> Iterator[tuple[int, int]]:
    """From the last letter that no phone number contains before a gate match to the next one."""
    stop = -1
    for match in gate.finditer(text):
        start, end = match.span()
        if end > stop:
            before, after = _LAST_STOP.search(text, 0, start), _NEXT_STOP.search(text, end)
            stop = len(text) if after is None else after.end()
            yield (0 if before is None else before.start()), stop


WINDOWS: dict[str, Windows] = {"line": lines, "number": numbers, "word": words}
