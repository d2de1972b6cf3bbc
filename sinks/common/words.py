"""What a person types into a search, in parts. Each store makes its own query of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
# Scripts written without spaces: a tokenizer takes a whole run for one word, or each sign.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_AROUND = 60
"""Characters shown on each side of what was found."""


class Term(NamedTuple):
    """``literal``: of a script without spaces, to be looked for as it stands."""

    text: str
    prefix: bool = False
    unwanted: bool = False
    literal: bool = False


def parse(words: str) -> Iterator[Term]:
    """Words; ``"a phrase"`` in this order; ``pre*`` a prefix; ``-word`` unwanted.

    >>> [tuple(t) for t in parse('"of files" conf* -java')]
    [('of files', False, False, False), ('conf', True, False, False), ('java', False, True, False)]
    """
    clean = words.replace("\0", " ").encode("utf-8", "replace").decode()
    clean = unicodedata.normalize("NFC", clean)
    for minus, phrase, word in _TERM.findall(clean):
        text = phrase.strip() or word
        prefix = not phrase and text.endswith("*")
        text = text if phrase else text.rstrip("*")
        if _has_token(text):
            yield Term(text, prefix, bool(minus), unspaced(text))


def unspaced(text: str) -> bool:
    """Whether a part of it is of a script written without spaces."""
    return not text.isascii() and _UNSPACED.search(text) is not None


def literal_snippet(text: str, words: Sequence[str], marks: tuple[str, str], whole: bool) -> str:
    """The surroundings of the first word, with every word marked."""
    if not whole:
        at = text.find(words[0])
        start, end = max(at - _AROUND, 0), at + len(words[0]) + _AROUND
        text = ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
    for word in words:
        text = text.replace(word, f"{marks[0]}{word}{marks[1]}")
    return text


def _has_token(text: str) -> bool:
    """Whether unicode61 finds a token in it: letters, numbers, private use."""
    return any(
        unicodedata.category(character)[0] in "LN" or unicodedata.category(character) == "Co"
        for character in text
    )
