"""A sink before another, to be measured at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.ports import Result, Sink, Stored
from schemas.records import Record, RecordId, Store


class Passing:
    """Passes everything on; who measures something overrides it."""

    def __init__(self, sink: Sink[Any]) -> None:
        self._sink = sink

    @property
    def store(self) -> Store:
        return self._sink.store

    def write(self, records: Sequence[Record], /) -> Sequence[Result]:
        return self._sink.write(records)

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        return self._sink.fetch(ids)

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        return self._sink.delete(ids)

    def count(self) -> int:
        return self._sink.count()

    def close(self) -> None:
        self._sink.close()
