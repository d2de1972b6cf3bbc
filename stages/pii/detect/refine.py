"""What a match must be, beyond its recognizer's pattern, to count in chat text.

A refinement takes the text, the match and its score, and whether a context word is near; it
returns the score to go on with, 0 for no. The rules come from reading what Presidio's
recognizers report on real prompts: versions, sections, dates, ISBNs, code.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

Refinement = Callable[[str, int, int, float, bool], float]

_USERINFO = re.compile(r"://[^\s/@]*$")
_VERSION = re.compile(
    r"(?:\bv|\b(?:version|ver|release|build|section|chapter|clause|rfc|firmware|update)s?\W{1,3})$",
    re.IGNORECASE,
)
_NANP = re.compile(
    r"\(?(?:1[-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[2-9]?[0-9]{2,3}[-. ][0-9]{4}"
)
_TRUNK = re.compile(
    r"\(?0[1-9][0-9]{0,4}(?:\)? ?-[0-9]{6,8}|\)?[ /][0-9]{2,8}(?:[ -][0-9]{2,4}){0,4})"
)
# A country code and seven or eight digits, without another plus between them.
_WITH_CODE = re.compile(r"\+(?:[^0-9+]{0,8}[0-9]){8}|00(?:[^0-9+]{0,4}[0-9]){6}")
# A piece of a longer row of numbers, or of a decimal.
_MORE_BEFORE = re.compile(r"[0-9][ ./,-]$")
_MORE_AFTER = re.compile(r"[ ./,-]\(?[0-9]")
_GROUP_AFTER = re.compile(r"[ -][0-9]{4}\b(?!/)")
_BOOK = re.compile(r"\b(?:isbn|issn|doi|ean|upc|sku)\W{0,3}(?:1[03]\W{0,3})?$", re.IGNORECASE)
# Dates, ranges and lists of years, decimals, dotted quads, social security numbers, ZIP codes,
# ISBNs.
_NOT_PHONE = re.compile(
    r"\(?(?:1[5-9]|20)[0-9]{2}[-./][0-9]{1,2}[-./][0-9]{1,2}.*|[0-9]{1,2}[-./][0-9]{1,2}[-./][0-9]{4}"
    r"|(?:(?:1[5-9]|20)[0-9]{2}[ /-]{1,3}){1,6}(?:1[5-9]|20)[0-9]{2}|[0-9]{4} ?- ?[0-9]{4}"
    r"|[0-9]+\.[0-9]+|(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9]{3}-[0-9]{2}-[0-9]{4}"
    r"|[0-9]{5}-[0-9]{4}|97[89][- ]?(?:[0-9][- ]?){9}[0-9]"
)
_EXTENSION = re.compile(r"[^\W\d_]")
_PLACEHOLDER = re.compile(
    r"x{4}|\*{3}|\.{3}|<|>|\$|%s|env\b|getenv|process\.|os\.|config|settings\.|self\.|your|my[_-]"
    r"|example|placeholder|changeme|redacted|null|none|true|false|string|required|password"
    r"|secret|token|input|hash",
    re.IGNORECASE,
)


def email(text: str, start: int, end: int, score: float, _near: bool) -> float:
    """Not a URL's credentials (``://user:pass@host``), not a git remote (``git@host:``)."""
    if _USERINFO.search(text, max(0, start - 200), start):
        return 0.0
    if text.startswith("git@", start) and text[end : end + 1] in (":", "/"):
        return 0.0
    return score


def phone(text: str, start: int, end: int, score: float, near: bool) -> float:
    """A country code, a usual national form, or a context word; and enough digits."""
    found = text[start:end]
    spoken = _EXTENSION.split(found, maxsplit=1)[0].rstrip(" -.,(")
    digits = sum(map(str.isdigit, spoken))
    if not 8 <= digits <= 17 or _NOT_PHONE.fullmatch(spoken):
        return 0.0
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if (after and after in _GLUE_AFTER) or _BOOK.search(text, max(0, start - 16), start):
        return 0.0
    if text[end : end + 1] in (".", ",") and text[end + 1 : end + 2].isdigit():
        return 0.0
    if found.lstrip("(").startswith("+"):
        return max(score, 0.75)
    if before and before in _GLUE_BEFORE:
        return 0.0
    if near:
        row = _MORE_BEFORE.search(text, max(0, start - 2), start) and _MORE_AFTER.match(text, end)
        return 0.0 if row else score
    national = _NANP.fullmatch(spoken) or (9 <= digits <= 11 and _TRUNK.fullmatch(spoken))
    return max(score, 0.6) if national or found.startswith("00") else 0.0


def phone_possible(text: str) -> bool:
    """Whether :func:`phone` can take any match in ``text`` that no context word is near."""
    return any(form.search(text) for form in (_WITH_CODE, _NANP, _TRUNK))


_GLUE_BEFORE = frozenset("$€£¥#=_/.-*^%&")
_GLUE_AFTER = frozenset("%€£$_=*/^°")


def ip_address(text: str, start: int, end: int, score: float, near: bool) -> float:
    """A host's address: not a version, a section number, a mask, or the machine itself."""
    found = text[start:end]
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return 0.0
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return 0.0
    if address.version == 6:
        groups = [group for group in found.split(":") if group]
        written = found[:1] != ":" and found.count(":") >= 2
        long = len(groups) >= 4 or (len(groups) >= 2 and len(groups[0]) == 4)
        return score if written and long and any(map(str.isdigit, found)) else 0.0
    octets = [int(octet) for octet in found.split(".")]
    if octets[0] in (0, 255) or text[end : end + 2].strip(".").isdigit():
        return 0.0
    if _VERSION.search(text, max(0, start - 12), start) or text[start - 1 : start] in (".", "-"):
        return 0.0
    return score if near or max(octets) > 31 else 0.0


def mac_address(text: str, start: int, end: int, score: float, near: bool) -> float:
    """Groups of digits alone (``1234.5678.9012``) are numbers unless the context says else."""
    return score if near or not text[start:end].replace(".", "").isdigit() else 0.0


def us_ssn(text: str, start: int, end: int, score: float, near: bool) -> float:
    """Area numbers 9xx were never assigned; a neighbour that continues the number spoils it."""
    if text[start] == "9" or text[start - 1 : start] in ("-", ".", "/", "+", "$"):
        return 0.0
    if text[end : end + 1] == "-" or ("." in text[start:end] and not near):
        return 0.0
    return score


def credit_card(text: str, start: int, end: int, score: float, near: bool) -> float:
    """Not four columns of a table of numbers, one in ten of which has a right check digit."""
    row = _MORE_BEFORE.search(text, max(0, start - 2), start) or _GROUP_AFTER.match(text, end)
    return score if near or not row else 0.0


def us_driver_license(text: str, start: int, end: int, score: float, _near: bool) -> float:
    """At least five digits: the recognizer also takes ``A1``."""
    return score if sum(map(str.isdigit, text[start:end])) >= 5 else 0.0


def secret(value: str) -> bool:
    """Whether the value of ``password = value`` looks like a real one, not a placeholder."""
    has_digit = any(map(str.isdigit, value))
    has_letter = any(map(str.isalpha, value))
    return has_digit and has_letter and len(set(value)) >= 5 and not _PLACEHOLDER.search(value)


REFINEMENTS: dict[str, Refinement] = {
    "EMAIL_ADDRESS": email,
    "PHONE_NUMBER": phone,
    "IP_ADDRESS": ip_address,
    "MAC_ADDRESS": mac_address,
    "US_SSN": us_ssn,
    "CREDIT_CARD": credit_card,
    "US_DRIVER_LICENSE": us_driver_license,
}

POSSIBLE: dict[str, Callable[[str], bool]] = {"PhoneRecognizer": phone_possible}
"""By recognizer: False for a piece of text in which the refinement would refuse all matches that no
context word is near, told at less cost than the recognizer's."""
