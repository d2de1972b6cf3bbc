"""A record of the event log and where it stands in it."""

from __future__ import annotations

import msgspec


class Origin(msgspec.Struct, frozen=True, order=True):
    """The coordinates of a log record: the identity of a delivery, not of an event.

    ``timestamp`` is the log's own timestamp in milliseconds since the epoch. It is the only clock
    that decides anything: windows, expiries and orphans are all measured in log time.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int


class Partition(msgspec.Struct, frozen=True, order=True):
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.number}"


class Original:
    """The bytes of a record as they came: key, headers and value, unscreened.

    Travels beside the event so that a dead letter can keep what was sent. It shows nothing of
    itself (``repr``, ``str``, pickling); only the dead-letter sink calls :meth:`open`.
    """

    __slots__ = ("__headers", "__key", "__value")

    def __init__(
        self, key: bytes | None, headers: tuple[tuple[str, bytes], ...], value: bytes
    ) -> None:
        self.__key = key
        self.__headers = headers
        self.__value = value

    def open(self) -> tuple[bytes | None, tuple[tuple[str, bytes], ...], bytes]:
        """Key, headers and value as they were read from the log."""
        return self.__key, self.__headers, self.__value

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.__value)

    def __repr__(self) -> str:
        return f"Original(<{len(self.__value)} bytes>)"

    def __reduce__(self) -> str:
        raise TypeError("an Original is never serialised; seal it as a dead letter")


class LogRecord(msgspec.Struct, frozen=True):
    """One record as a source hands it over."""

    origin: Origin
    original: Original
