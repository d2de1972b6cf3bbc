"""What a person types, as a full-text query that is always valid."""

from __future__ import annotations

from typing import NamedTuple

from sinks.common.words import parse


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
    for text, prefix, minus, literal in parse(words):
        if literal:
            (lacks if minus else contains).append(text)
        else:
            (unwanted if minus else wanted).append(_quoted(text) + (" *" if prefix else ""))
    match = f"({' '.join(wanted)})" if wanted else ""
    if match and unwanted:
        match += f" NOT ({' OR '.join(unwanted)})"
    elif unwanted and contains:
        lacks += [term.strip('"* ') for term in unwanted]
    return Terms(match, tuple(contains), tuple(lacks))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
