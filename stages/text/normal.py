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

# What str.split() splits at in ASCII, besides the blank and the line feed.
_RARE_BLANKS: Final = ("\t", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f")


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
    if not text.isascii():
        return " ".join(text.split())
    # Most texts are ASCII, of words with a blank between them, in lines: joining the lines is
    # faster than splitting the words. A plain loop: a generator costs more than the searches.
    for blank in _RARE_BLANKS:
        if blank in text:
            return " ".join(text.split())
    if "\n" in text:
        text = " ".join([line for line in text.split("\n") if line])
    return " ".join(text.split()) if "  " in text else text.strip(" ")


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
