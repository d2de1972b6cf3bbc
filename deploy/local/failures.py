"""What can go wrong with local servers, in words for the person who started them."""

from __future__ import annotations


class LocalError(Exception):
    """The person can put this right; the message says how."""


class Lacking(LocalError):
    """The machine lacks programs. Says all of them at once, with what to install."""


class Corrupt(LocalError):
    """What was fetched is not what its checksum says."""


class StartFailed(LocalError):
    """A server did not come up. Holds the end of its log."""
