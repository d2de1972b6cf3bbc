"""Brings characters that people and tricksters write for ASCII ones to ASCII, one for one."""

from __future__ import annotations

import re
import sys

import re2
import regex  # type: ignore[import-untyped]

# Dashes, spaces, and letters that case-insensitive ASCII classes match without being ASCII.
_LOOKALIKES = {
    **dict.fromkeys("‐‑‒–—―−﹘﹣", "-"),
    **dict.fromkeys("\u00a0\u1680\u202f\u205f\u3000", " "),
    **dict.fromkeys(map(chr, range(0x2000, 0x200B)), " "),
    **dict(zip("ſKİı", "sKIi", strict=True)),
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
}


def _digits() -> dict[str, str]:
    """Every decimal digit known to the regex engine; Unicode lists them in runs from zero."""
    every = "".join(map(chr, (*range(0x80, 0xD800), *range(0xE000, sys.maxunicode + 1))))
    table: dict[str, str] = {}
    for run in regex.finditer(r"\p{Nd}+", every):
        table.update((char, str(n % 10)) for n, char in enumerate(run.group()))
    return table


_TABLE = {**_digits(), **_LOOKALIKES}
_ANY = re2.compile("[" + re.escape("".join(sorted(_TABLE))) + "]")


def fold(text: str) -> str:
    """``text`` with look-alikes replaced; same length, so offsets hold for both."""
    if text.isascii():
        return text
    for char in sorted(set(_ANY.findall(text))):
        text = text.replace(char, _TABLE[char])
    return text
