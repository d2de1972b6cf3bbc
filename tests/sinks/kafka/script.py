"""What a client hands over, by script."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError


class Told:
    """A message, or an error, of one partition."""

    def __init__(
        self,
        partition: int,
        offset: int,
        code: int | None = None,
        value: bytes = b"v",
        key: bytes = b"k",
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self._place = partition, offset
        self._error = None if code is None else KafkaError(code)
        self._held = key, headers, value

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return "topic"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> bytes:
        return self._held[0]

    def headers(self) -> Sequence[tuple[str, bytes]]:
        return self._held[1]

    def value(self) -> bytes:
        return self._held[2]
