"""Sealed bytes: AES-256-GCM in an envelope of version byte, 12-byte nonce, ciphertext and tag."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Tampered(Exception):
    """Sealed bytes do not open: other key, other coordinates, changed, cut, or a newer envelope."""


class Seal:
    """Seals and opens with one key of 32 bytes. Safe for several threads.

    The nonce is random (NIST SP 800-38D, 8.2.2), good for 2³² envelopes a key.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, associated: bytes) -> bytes:
        """The envelope of ``plain``, which opens only together with ``associated``."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _VERSION + associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """What was sealed. Raises Tampered."""
        start = len(_VERSION) + _NONCE_BYTES
        if not sealed.startswith(_VERSION) or len(sealed) < start + _TAG_BYTES:
            raise Tampered("not a sealed envelope of a known version")
        nonce = sealed[len(_VERSION) : start]
        try:
            return self._cipher.decrypt(nonce, sealed[start:], _VERSION + associated)
        except InvalidTag:
            raise Tampered("a sealed envelope does not open with this key here") from None
