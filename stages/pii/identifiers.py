"""Identifiers that are personal data, such as a user id that is an e-mail address."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from schemas.items import Screened

PSEUDONYM = re.compile(r"pii_[a-z2-7]{26}")


def pseudonym(key: bytes, identifier: str) -> Screened:
    """``pii_`` and 130 bits of HMAC-SHA256(key, identifier in UTF-8) in lower-case base32.

    The same identifier has the same pseudonym everywhere under one key (sessions, the directory,
    every run); without the key a guessed identifier cannot be checked against it.
    """
    digest = hmac.digest(key, identifier.encode(), hashlib.sha256)
    return Screened("pii_" + base64.b32encode(digest)[:26].decode("ascii").lower())
