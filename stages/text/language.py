"""Which language a text is in, by Compact Language Detector 2."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import pycld2

READ_CHARACTERS: Final = 500
# What CLD2 refuses as not fit for interchange: control characters and Unicode's noncharacters.
_NOT_INTERCHANGED: Final = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)
# CLD2 answers some languages with codes that ISO 639 has withdrawn.
_CURRENT_CODES: Final = {"iw": "he", "in": "id", "jw": "jv", "ji": "yi", "mo": "ro", "un": "und"}


class Language(NamedTuple):
    """A BCP 47 tag and the share of the text's letters, 0 to 1, that the detector gives to it."""

    code: str
    confidence: float


UNDETERMINED: Final = Language("und", 0.0)


def detect_language(text: str) -> Language:
    """Of the first 500 characters. ``und`` with confidence 0 when CLD2 calls its own answer
    unreliable, as it does for a word or two, for code and for numbers. Never raises."""
    head = text[:READ_CHARACTERS]
    try:
        answer = pycld2.detect(head, isPlainText=True)
    except (pycld2.error, UnicodeEncodeError):
        try:
            answer = pycld2.detect(_NOT_INTERCHANGED.sub(" ", head), isPlainText=True)
        except pycld2.error:
            return UNDETERMINED
    reliable, _, ranked = answer
    _, code, percent, _ = ranked[0]
    if not reliable or code == "un":
        return UNDETERMINED
    return Language(_CURRENT_CODES.get(code, code), percent / 100)
