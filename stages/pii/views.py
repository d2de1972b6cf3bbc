"""Text behind escapes: ``john\\u0040example.com`` and ``john%40example.com`` are e-mail addresses.

The escapes of printable ASCII in JSON, C, URLs and HTML are decoded into a second view of the
text, which is scanned as well; its spans are carried back to the text as it stands.
"""

from __future__ import annotations

import re

from stages.pii.detect.spans import Span

_ESCAPE = re.compile(
    r"\\{1,8}u00([2-7][0-9a-fA-F])|\\{1,8}x([2-7][0-9a-fA-F])|%([2-7][0-9a-fA-F])"
    r"|&#x0{0,4}([2-7][0-9a-fA-F]);|&#0{0,4}(3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]);|&(commat);"
)


class View:
    """A decoded text, and for each of its characters where it starts in the original one."""

    __slots__ = ("_starts", "text")

    def __init__(self, text: str, starts: list[int]) -> None:
        self.text = text
        self._starts = starts

    def back(self, spans: tuple[Span, ...]) -> tuple[Span, ...]:
        """``spans`` of the decoded text as spans of the original one."""
        at = self._starts
        return tuple(Span(at[s.start], at[s.end], s.entity, s.score) for s in spans)


def decoded(text: str) -> View | None:
    """The decoded view, or None for a text without escapes (nearly all)."""
    if "%" not in text and "\\" not in text and "&" not in text:
        return None
    matches = list(_ESCAPE.finditer(text))
    if not matches:
        return None
    parts: list[str] = []
    starts: list[int] = []
    done = 0
    for match in matches:
        at = match.start()
        parts.append(text[done:at])
        starts.extend(range(done, at))
        parts.append(_character(match))
        starts.append(at)
        done = match.end()
    parts.append(text[done:])
    starts.extend(range(done, len(text) + 1))
    return View("".join(parts), starts)


def _character(match: re.Match[str]) -> str:
    group = match.lastindex or 0
    if group == 6:
        return "@"
    return chr(int(match[group], 10 if group == 5 else 16))
