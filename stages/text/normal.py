"""The normal form of texts, their collapsed form, and the hash of it."""

from __future__ import annotations

import hashlib
import unicodedata
from itertools import groupby
from typing import Any, Final

import re2

# Canonical ordering in CPython is an insertion sort: quadratic in a run of combining marks.
# Thirty is what Unicode (UAX #15, Stream-Safe Text Format) lets a run have in meaningful text.
_LONG_MARK_RUN: Any = re2.compile(r"\p{M}{31,}")

# What str.split() splits at in ASCII; the most frequent first.
_BLANKS: Final = ("\n", "  ", "\t", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f")


def normalise(text: str) -> str:
    """The form that is stored, shown and embedded: NFC, LF line ends, no trailing blanks.

    CRLF and CR become LF; blanks and tabs before a line end go, and so do blanks, tabs and line
    ends at the end. Idempotent, and linear in the text's length whatever it holds.
    """
    if not unicodedata.is_normalized("NFC", text):
        text = _nfc(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if " \n" in text or "\t\n" in text:
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    return text.rstrip(" \t\n")


def collapse(text: str) -> str:
    """Every run of whitespace as one blank, none at the ends. For hashes and templates only."""
    return text if _is_collapsed(text) else " ".join(text.split())


def _is_collapsed(text: str) -> bool:
    """True only when it is so, and quickly, as for one line of ASCII; False may mean unknown."""
    if not text.isascii() or text[:1] == " " or text[-1:] == " ":
        return False
    # A plain loop: any() with a generator costs more than the ten searches.
    for blank in _BLANKS:  # noqa: SIM110
        if blank in text:
            return False
    return True


def text_hash(screened: str) -> str:
    """SHA-256 of the collapsed text in UTF-8, as 64 lower-case hex digits.

    Of the *screened* text only: a hash of raw text can be guessed and checked.
    """
    return hashlib.sha256(collapse(screened).encode()).hexdigest()


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", _LONG_MARK_RUN.sub(_in_canonical_order, text))


def _in_canonical_order(run: Any) -> str:
    """The run decomposed, with each stretch of non-starters sorted by combining class."""
    decomposed = "".join([unicodedata.normalize("NFD", mark) for mark in run.group()])
    return "".join(
        [
            "".join(stretch) if starters else "".join(sorted(stretch, key=unicodedata.combining))
            for starters, stretch in groupby(decomposed, lambda c: not unicodedata.combining(c))
        ]
    )
