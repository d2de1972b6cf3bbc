"""Finds the volatile literals of a text and puts ``{{kind}}`` placeholders in their place.

One scan from left to right that jumps from one sign that can begin or belong to a literal to the
next. No stretch is searched twice, so the time is linear in the text's length whatever it holds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Final

# Digits, quotes, and what stands in addresses and before code, JSON and typed placeholders.
_SIGN: Final = re.compile(r"""[0-9@/"'`<{\[]""")
_SIGN_BEYOND_ASCII: Final = re.compile(r"""[\d@/"'`<{\[“«]|www\.""")
_ATOM: Final = re.compile(
    r"""[a-z][a-z0-9+.-]{1,15}+://[^\s<>"'`{}]+
    |www\.[^\s<>"'`{}]+
    |[+-]?\w(?:[\w@%/+-]|[.,:](?=\w))*""",
    re.IGNORECASE | re.VERBOSE,
)
_PLACEHOLDER: Final = re.compile(r"\{\{ ?[\w.-]{1,64} ?\}\}")
_TYPED: Final = re.compile(r"<([A-Z]++(?:_[A-Z]++)*+)(?:[:#_-]?[0-9a-f]+)?>")
_SINGLE_QUOTED: Final = re.compile(r"'[^' ][^']{0,99}'(?!\w)")
_JSON_START: Final = re.compile(r"""[{\[] ?(?:["'\[]|\{(?!\{))""")
_BRACKET: Final = re.compile(r"[{}\[\]]")
_PLAIN_NUMBER: Final = re.compile(r"\d++(?:,\d++)*+(?:\.\d++)?+%?+(?![\w@%/+-]|[.,:]\w)")
_SCHEME_BEFORE: Final = re.compile(r"[a-z][a-z0-9+.-]{1,15}\Z", re.IGNORECASE)
_DIGITS: Final = re.compile(r"\d+")
_CLOSING: Final = {'"': '"', "“": "”", "«": "»"}
_OPENING_BRACKET: Final = {"}": "{", "]": "["}
_QUOTE_OPENS_AFTER: Final = frozenset(" ([{:=,>")

_MONTHS: Final = frozenset(
    [
        "jan",
        "feb",
        "mar",
        "apr",
        "may",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ]
)
_MONTH_ENDINGS: Final = frozenset(month[-1] for month in _MONTHS) | {"."}
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_DAY_AND_YEAR: Final = re.compile(rf"(?:{_DAY}(?:,? \d{{4}})?|\d{{4}})(?!\w)", re.IGNORECASE)
_DAY_BEFORE_MONTH: Final = re.compile(
    rf"{_DAY}(?: of)? ({'|'.join(sorted(_MONTHS, key=len, reverse=True))})\b\.?(?:,? \d{{4}}\b)?",
    re.IGNORECASE,
)


_Literal = tuple[int, int, str]
"""Start, end, and what stands for the stretch between them."""


def _load_kinds() -> re.Pattern[str]:
    data = tomllib.loads(
        files(__package__).joinpath("template_kinds.toml").read_text(encoding="utf-8")
    )
    kinds = [f"(?P<{kind['name']}>{kind['pattern']})" for kind in data["kind"]]
    return re.compile("|".join(kinds), re.IGNORECASE | re.VERBOSE)


_KINDS: Final = _load_kinds()


def mask(text: str) -> str:
    """The collapsed text with its volatile literals replaced; ``{{name}}`` in it stays as it is."""
    search = (_SIGN if text.isascii() and "www." not in text else _SIGN_BEYOND_ASCII).search
    found = search(text)
    if found is None:
        return text
    scanner = _Scanner(text)
    pieces: list[str] = []
    copied = position = 0
    while found is not None:
        at = found.start()
        literal = _FINDERS.get(text[at], _Scanner.atom)(scanner, at)
        if literal is None:
            position = at + 1
        else:
            start, position, replacement = literal
            pieces += (text[copied:start], replacement)
            copied = position
        scanner.free = position
        found = search(text, position)
    pieces.append(text[copied:])
    return "".join(pieces)


class _Scanner:
    """What is known of one text while it is scanned.

    ``free`` is where the last literal or sign ended; nothing before it is looked at. The methods
    answer the literal that the sign at ``at`` belongs to, or None.
    """

    def __init__(self, text: str) -> None:
        self.free = 0
        self._text = text
        self._absent: set[str] = set()
        self._brackets: dict[int, int] | None = None

    def number(self, at: int) -> _Literal | None:
        text = self._text
        found = _PLAIN_NUMBER.match(text, at) if at == 0 or text[at - 1] == " " else None
        if found is None:
            return self.atom(at)
        end = found.end()
        return (end - at <= 4 and self._date(at, end)) or (at, end, "{{number}}")

    def slash(self, at: int) -> _Literal | None:
        text = self._text
        if not text.startswith("://", at - 1):
            return None
        scheme = _SCHEME_BEFORE.search(text, max(self.free, at - 17), at - 1)
        url = None if scheme is None else _ATOM.match(text, scheme.start())
        return None if url is None else self._classified(url)

    def atom(self, at: int) -> _Literal | None:
        text = self._text
        start = at
        if at > self.free and text[at - 1] != " ":
            start = text.rfind(" ", self.free, at) + 1 or self.free
        found = _ATOM.search(text, start, at + 1)
        while found is not None and found.end() <= at:
            found = _ATOM.search(text, found.end(), at + 1)
        if found is None:
            return None
        # Found up to the sign; now all of it.
        found = _ATOM.match(text, found.start())
        return None if found is None else self._classified(found)

    def _classified(self, atom: re.Match[str]) -> _Literal:
        start, end = atom.span()
        kind = _KINDS.fullmatch(self._text, start, end)
        if kind is None or kind.lastgroup is None:
            date = self._date(start, end) if end - start <= 4 else None
            return date or (start, end, _DIGITS.sub("{{number}}", atom.group()))
        if kind.lastgroup == "url":
            end = start + len(atom.group().rstrip(".,;:!?)]*"))
        return start, end, f"{{{{{kind.lastgroup}}}}}"

    def _date(self, start: int, end: int) -> _Literal | None:
        """A date with its month in letters, before or after the number."""
        text = self._text
        if text[end + 1 : end + 4].lower() in _MONTHS or text.startswith(" of ", end):
            after = _DAY_BEFORE_MONTH.match(text, start)
            if after is not None:
                return start, after.end(), "{{date_time}}"
        if text[start - 2 : start - 1] in _MONTH_ENDINGS:
            before = text.rfind(" ", max(self.free, start - 12), start - 1) + 1 or self.free
            # A capital, because "may" and "march" are verbs as well.
            word = text[before : start - 1].rstrip(".")
            if word[:1].isupper() and word.lower() in _MONTHS:
                rest = _DAY_AND_YEAR.match(text, start)
                if rest is not None:
                    return before, rest.end(), "{{date_time}}"
        return None

    def _close(self, closing: str, start: int) -> int:
        """Where ``closing`` next stands from ``start``; -1 if nowhere, which is searched once."""
        if closing in self._absent:
            return -1
        end = self._text.find(closing, start)
        if end < 0:
            self._absent.add(closing)
        return end

    def _opens(self, at: int) -> bool:
        """Whether a quotation can begin here: after a blank or an opening sign, before a word."""
        return (at == 0 or self._text[at - 1] in _QUOTE_OPENS_AFTER) and self._text[
            at + 1 : at + 2
        ] not in ("", " ")

    def quoted(self, at: int) -> _Literal | None:
        if not self._opens(at):
            return None
        end = self._close(_CLOSING[self._text[at]], at + 1)
        return None if end < 0 else (at, end + 1, "{{quoted}}")

    def single_quoted(self, at: int) -> _Literal | None:
        found = _SINGLE_QUOTED.match(self._text, at) if self._opens(at) else None
        return None if found is None else (at, found.end(), "{{quoted}}")

    def code(self, at: int) -> _Literal | None:
        fence = "```" if self._text.startswith("```", at) else "`"
        end = self._close(fence, at + len(fence))
        return None if end < 0 else (at, end + len(fence), "{{code}}")

    def typed(self, at: int) -> _Literal | None:
        found = _TYPED.match(self._text, at)
        if found is None:
            return None
        return at, found.end(), f"{{{{{found.group(1).lower()}}}}}"

    def json(self, at: int) -> _Literal | None:
        placeholder = _PLACEHOLDER.match(self._text, at)
        if placeholder is not None:
            return at, placeholder.end(), placeholder.group()
        if _JSON_START.match(self._text, at) is None:
            return None
        if self._brackets is None:
            self._brackets = _matching_brackets(self._text)
        end = self._brackets.get(at)
        return None if end is None else (at, end + 1, "{{json}}")


_FINDERS: Final[dict[str, Callable[[_Scanner, int], _Literal | None]]] = {
    **dict.fromkeys("0123456789", _Scanner.number),
    "/": _Scanner.slash,
    '"': _Scanner.quoted,
    "“": _Scanner.quoted,
    "«": _Scanner.quoted,
    "'": _Scanner.single_quoted,
    "`": _Scanner.code,
    "<": _Scanner.typed,
    "{": _Scanner.json,
    "[": _Scanner.json,
}


def _matching_brackets(text: str) -> dict[int, int]:
    """Positions of opening brackets and of those that close them."""
    closed: dict[int, int] = {}
    open_now: list[tuple[str, int]] = []
    for found in _BRACKET.finditer(text):
        sign, at = found.group(), found.start()
        opening = _OPENING_BRACKET.get(sign)
        if opening is None:
            open_now.append((sign, at))
        elif open_now and open_now[-1][0] == opening:
            closed[open_now.pop()[1]] = at
    return closed
