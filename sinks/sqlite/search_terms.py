"""What a person types, as a full-text query that is always valid."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
# Scripts written without spaces: the tokenizer takes a whole run for one word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


class Terms(NamedTuple):
    """``match``: an FTS5 expression, empty when there is none. ``contains`` and ``lacks``: what the
    text must (not) contain literally. All three empty: nothing was asked for."""

    match: str
    contains: tuple[str, ...]
    lacks: tuple[str, ...]


def terms(words: str) -> Terms:
    """Words must all occur; ``"a phrase"`` in this order; ``pre*`` as a prefix; ``-word`` not.

    Everything else that FTS5 would read as syntax is quoted. Words of scripts without spaces
    (Chinese, Japanese, Thai, …) are looked for literally.

    >>> terms('list "of files" conf* -java').match
    '("list" "of files" "conf" *) NOT ("java")'
    """
    wanted: list[str] = []
    unwanted: list[str] = []
    contains: list[str] = []
    lacks: list[str] = []
    clean = words.replace("\0", " ").encode("utf-8", "replace").decode()
    for minus, phrase, word in _TERM.findall(clean):
        text = phrase.strip() or word
        prefix = not phrase and text.endswith("*")
        text = text if phrase else text.rstrip("*")
        if not _has_token(text):
            continue
        if _UNSPACED.search(text):
            (lacks if minus else contains).append(text)
            continue
        (unwanted if minus else wanted).append(_quoted(text) + (" *" if prefix else ""))
    match = f"({' '.join(wanted)})" if wanted else ""
    if match and unwanted:
        match += f" NOT ({' OR '.join(unwanted)})"
    elif unwanted and contains:
        lacks += [term.strip('"* ') for term in unwanted]
    return Terms(match, tuple(contains), tuple(lacks))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _has_token(text: str) -> bool:
    """Whether unicode61 finds a token in it: letters, numbers, private use."""
    return any(
        unicodedata.category(character)[0] in "LN" or unicodedata.category(character) == "Co"
        for character in text
    )
