"""Presidio's recognizers, as they are or narrowed to formats that prove precise.

They are built one by one: Presidio's engine would download a language model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tldextract
from presidio_analyzer import Pattern, PatternRecognizer, predefined_recognizers
from presidio_analyzer.predefined_recognizers import (
    AuTfnRecognizer,
    CreditCardRecognizer,
    EmailRecognizer,
    EsNieRecognizer,
    InPanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    PlPeselRecognizer,
)

# Both halves are bounded (RFC 5321 allows 64 and 255 octets), so the work is linear. Of the
# local part's odd characters those are left out that stand around addresses in URLs and code.
_EMAIL = r"(?<![\w.+%-])\w(?:[\w.!$'*+%^~-]{0,126}[\w+_-])?@\w[\w-]{0,62}(?:\.\w[\w-]{0,62}){1,8}\b"
# Suffixes for private networks (RFC 6762, RFC 8375, RFC 2606, ICANN's .internal).
_PRIVATE_SUFFIXES = (
    "local", "internal", "lan", "corp", "home", "intranet", "test", "example", "invalid",
)  # fmt: skip
# Issuer prefixes and lengths as in ISO/IEC 7812 and the networks' published ranges.
_CARD = (
    r"(?<![\w.+-])(?:"
    r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)|6011"
    r"|64[4-9][0-9]|65[0-9]{2}|62[0-9]{2}|35(?:2[89]|[3-8][0-9])|5018|5020|5038|6304|67[0-9]{2})"
    r"(?:[- ]?[0-9]{4}){2}[- ]?[0-9]{4}(?:[- ]?[0-9]{3})?"
    r"|3[47][0-9]{2}[- ]?[0-9]{6}[- ]?[0-9]{5}"
    r"|3(?:0[0-5]|[68][0-9])[0-9][- ]?[0-9]{6}[- ]?[0-9]{4}"
    r"|4[0-9]{12}|(?:5018|5020|5038|6304|67[0-9]{2})[0-9]{8,11}|(?:2131|1800)[0-9]{11}"
    r")(?![\w-]|\.[0-9])"
)
# Presidio's alternatives stop at the first `::`; what follows would stay. Validated afterwards.
_IPV6 = (
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}"
    r"(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-f]{1,4})?(?:%[0-9a-z]+)?(?![\w:])"
)
# Forms of phone numbers, whether assigned or not: people invent numbers to try a system out, and
# mistype real ones. The first two are unmistakable, the third counts beside a word like "call".
_NORTH_AMERICAN = (
    r"(?<![\w.+$-])(?:1[-. ])?(?:\([2-9][0-9]{2}\) ?[0-9]{3}-[0-9]{4}"
    r"|[2-9][0-9]{2}-[0-9]{3}-[0-9]{4}|[2-9][0-9]{2}\.[0-9]{3}\.[0-9]{4})(?![\w-]|\.[0-9])"
)
_INTERNATIONAL = (
    r"(?<![\w.+)-])(?:\(?\+[1-9][0-9]{0,2}\)?|00[1-9][0-9]{1,2}[ .-])"
    r"(?:[ .()/-]{0,3}[0-9]{1,10}){1,7}(?: ?x[0-9]{1,5})?(?![\w%]|[.,-][0-9])"
)
_SPOKEN_OF = (
    r"(?<![\w.,+$#/-])(?<![0-9][ ./-])\(?[0-9]{1,5}\)?(?:[ ./-]{1,2}\(?[0-9]{1,8}\)?){0,5}"
    r"(?![\w%]|[ .,-]?[0-9])"
)


class OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
    """Checks the domain against the public suffix list inside tldextract's package.

    Presidio's own asks the network for the list. Private suffixes count as well.
    """

    def __init__(self) -> None:
        super().__init__(patterns=[Pattern("Email", _EMAIL, 0.5)])
        self._extract = tldextract.TLDExtract(
            cache_dir=None, suffix_list_urls=(), extra_suffixes=_PRIVATE_SUFFIXES
        )

    def validate_result(self, pattern_text: str) -> bool:
        return bool(self._extract(pattern_text.rpartition("@")[2]).fqdn)


class PeselRecognizer(PlPeselRecognizer):  # type: ignore[misc]
    """With the check digit as the registry defines it, (10 - sum mod 10) mod 10.

    Presidio compares the sum itself, which refuses real numbers.
    """

    def validate_result(self, pattern_text: str) -> bool:
        weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
        return sum(w * int(d) for w, d in zip(weights, pattern_text, strict=True)) % 10 == 0


_NARROWED: dict[str, Callable[[], Any]] = {
    "OfflineEmailRecognizer": OfflineEmailRecognizer,
    "PeselRecognizer": PeselRecognizer,
    "PhoneFormRecognizer": lambda: PatternRecognizer(
        supported_entity="PHONE_NUMBER",
        patterns=[
            Pattern("North American form", _NORTH_AMERICAN, 0.5),
            Pattern("international form", _INTERNATIONAL, 0.5),
        ],
    ),
    "SpokenOfNumberRecognizer": lambda: PatternRecognizer(
        supported_entity="PHONE_NUMBER", patterns=[Pattern("a number", _SPOKEN_OF, 0.3)]
    ),
    "HostAddressRecognizer": lambda: IpRecognizer(
        patterns=[IpRecognizer.PATTERNS[0], Pattern("IPv6", _IPV6, 0.6)]
    ),
    "PaymentCardRecognizer": lambda: CreditCardRecognizer(
        patterns=[Pattern("issuer ranges", _CARD, 0.3)]
    ),
    "TaxFileNumberRecognizer": lambda: AuTfnRecognizer(
        patterns=[Pattern("TFN", r"\b[0-9]{3} ?[0-9]{3} ?[0-9]{3}\b", 0.1)]
    ),
    "AccountNumberRecognizer": lambda: InPanRecognizer(
        patterns=[Pattern("PAN", r"\b[A-Z]{5}[0-9]{4}[A-Z]\b", 0.1)]
    ),
    "ForeignerNumberRecognizer": lambda: EsNieRecognizer(
        patterns=[Pattern("NIE", r"\b[X-Z][0-9]{7,8}-?[A-Z]\b", 0.5)]
    ),
}


def recognizer(name: str, phone_regions: tuple[str, ...]) -> Any:
    """The recognizer of this name in rules.toml."""
    if name == "PhoneRecognizer":
        return PhoneRecognizer(supported_regions=phone_regions, leniency=1)
    make = _NARROWED.get(name) or getattr(predefined_recognizers, name)
    return make()
