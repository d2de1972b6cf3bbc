"""What was erased, for good: a log in a bucket of its own, without retention."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from schemas.ports import Unavailable
from schemas.records import RecordId
from sinks.common.deadline import Deadline
from sinks.influxdb.client import WHAT, Client
from sinks.influxdb.lines import name_of, quoted

_NS = 1_000_000_000
_OVERLAP = 60 * _NS
"""How far back the log is read again for entries that came late."""


def bucket_of(bucket: str) -> str:
    """The bucket of the tombstones beside the one of the points."""
    return f"{bucket}-erased"


class Tombstones:
    """The ids that were erased, kept in memory and brought up to date from the log.

    Influx can be asked for one id only by reading all of them. The log only grows, so that the
    number of its entries tells whether what is in memory is all: one cheap question. An id takes
    some 150 bytes of memory. Safe from any thread.
    """

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket_of(bucket)
        self._lock = threading.Lock()
        self._entries: set[tuple[int, str]] = set()
        self._names: set[str] = set()
        self._latest = -(1 << 63)

    @property
    def question(self) -> str:
        """A statement for any bucket's query; :meth:`among` wants its rows."""
        return f'SELECT count(ids) FROM "{self._bucket}"..tombstone'  # noqa: S608

    def among(
        self, ids: Iterable[RecordId], rows: Sequence[Mapping[str, Any]], deadline: Deadline
    ) -> set[RecordId]:
        """Those that are erased, as of when :attr:`question` was answered. Raises Unavailable."""
        count = int(rows[0]["count"]) if rows else 0
        with self._lock:
            if count > len(self._entries):
                self._read(f" WHERE time >= {self._latest - _OVERLAP}", deadline)
            if count > len(self._entries):
                self._read("", deadline)
            if count > len(self._entries):
                raise Unavailable(WHAT, "tombstones_unread")
            return {i for i in ids if name_of(i) in self._names} if self._names else set()

    def asked(self, ids: Iterable[RecordId], deadline: Deadline) -> set[RecordId]:
        """Those that are erased, as of now. Raises Unavailable."""
        rows = self._client.query(self._bucket, [self.question], deadline)[0]
        return self.among(ids, rows, deadline)

    def add(self, ids: Sequence[RecordId], deadline: Deadline) -> None:
        """Erased is durable when this returns. Raises Unavailable."""
        names = json.dumps([name_of(identity) for identity in ids])
        # The server gives the time; two at once in one nanosecond must not be one point.
        line = f"tombstone,nonce={secrets.randbelow(16)} ids={quoted(names)}"
        self._client.write(self._bucket, line, deadline)
        if len(self.asked(ids, deadline)) < len(set(ids)):
            raise Unavailable(WHAT, "tombstones_unread")

    def _read(self, where: str, deadline: Deadline) -> None:
        if self._latest < 0:
            where = ""
        statement = f"SELECT ids, nonce FROM tombstone{where}"  # noqa: S608
        for row in self._client.query(self._bucket, [statement], deadline)[0]:
            self._entries.add((row["time"], row["nonce"]))
            self._names.update(msgspec.json.decode(row["ids"], type=list[str]))
            self._latest = max(self._latest, row["time"])
