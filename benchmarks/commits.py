"""When a group committed which offsets, as the broker's own log of commits has it.

The broker keeps commits in a topic; reading that afterwards loads nothing while something is
measured. Its records are decoded as far as that takes: they begin with a version, and all versions
have these fields in the same places.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

TOPIC = "__consumer_offsets"
_COMMIT_VERSIONS = (0, 1)
Place = tuple[str, int]


class Commits:
    """The commits of one group from the log's beginning, read up to now by each
    :meth:`catch_up`."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self._group = group
        self._found: dict[Place, tuple[list[int], list[int]]] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "benchmarks",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._next = 0
        self._begun = False

    def catch_up(self) -> None:
        """Reads to what is its end now. The topic is made with the first group."""
        if not self._begun and not self._begin():
            return
        _, end = self._consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), 10)
        while self._next < end:
            for message in self._consumer.consume(1_000, 0.2):
                if message.error() is not None:
                    raise RuntimeError(f"{TOPIC} cannot be read: {message.error().name()}")
                self._next = (message.offset() or 0) + 1
                self._take(message.key(), message.value(), message.timestamp()[1])

    def when(self, place: Place, offset: int) -> int | None:
        """The moment (ms since 1970) of the first commit behind a record; None: not yet."""
        offsets, moments = self._found.get(place, ([], []))
        at = bisect_right(offsets, offset)
        return moments[at] if at < len(offsets) else None

    def have(self, ends: Mapping[Place, int]) -> bool:
        """Whether the last records of some partitions, by their offsets, are committed."""
        return all(self.when(place, offset) is not None for place, offset in ends.items())

    def moments(self) -> list[int]:
        """Of every commit, in order."""
        return sorted(at for _, moments in self._found.values() for at in moments)

    def close(self) -> None:
        self._consumer.close()

    def _begin(self) -> bool:
        listed = self._consumer.list_topics(timeout=10).topics
        if TOPIC not in listed:
            return False
        if len(listed[TOPIC].partitions) != 1:
            raise RuntimeError(f"{TOPIC} has several partitions, not the one of deploy.local")
        self._consumer.assign([TopicPartition(TOPIC, 0, 0)])
        self._begun = True
        return True

    def _take(self, key: bytes | None, value: bytes | None, moment: int) -> None:
        if key is None or value is None or struct.unpack_from(">h", key)[0] not in _COMMIT_VERSIONS:
            return
        group, at = _text(key, 2)
        topic, at = _text(key, at)
        if group != self._group:
            return
        (partition,) = struct.unpack_from(">i", key, at)
        (offset,) = struct.unpack_from(">q", value, 2)
        offsets, moments = self._found.setdefault((topic, partition), ([], []))
        if not offsets or offset > offsets[-1]:
            offsets.append(offset)
            moments.append(moment)


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    end = at + 2 + length
    return data[at + 2 : end].decode(), end
