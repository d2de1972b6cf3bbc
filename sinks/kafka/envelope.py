"""How a payload lies in a message: sealed, or as it is where the settings say so."""

from __future__ import annotations

from sinks.common.packing import shrink
from sinks.seal import Seal, Tampered

SEALED = "sealed"
PLAIN = "plain"


class Envelope:
    """Seals with ``key`` (32 bytes); without one, leaves payloads as they are.

    Both kinds open, so that a change of the settings leaves nothing behind unreadable; sealed ones
    only with the key.
    """

    def __init__(self, key: bytes | None) -> None:
        self._seal = None if key is None else Seal(key)

    @property
    def name(self) -> str:
        """What :meth:`close` makes: ``sealed`` or ``plain``."""
        return PLAIN if self._seal is None else SEALED

    def close(self, packed: bytes, associated: bytes) -> bytes:
        """The bytes to send of something packed."""
        small = shrink(packed)
        return small if self._seal is None else self._seal.seal(small, associated)

    def open(self, name: str, held: bytes, associated: bytes) -> bytes:
        """What was packed. Raises Tampered."""
        if name == PLAIN:
            return held
        if self._seal is None:
            raise Tampered("a sealed envelope, and no key is given")
        return self._seal.open(held, associated)
