"""Kafka's partitioner: murmur2 as in ``org.apache.kafka.common.utils.Utils.murmur2``."""

from __future__ import annotations

import struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit hash (Kafka's Java client reads it as signed).

    >>> murmur2(b"21") - (1 << 32)
    -973932308
    """
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for k in struct.unpack_from(f"<{whole >> 2}I", data):
        k = (k * _M) & _MASK
        k ^= k >> 24
        h = ((h * _M) & _MASK) ^ ((k * _M) & _MASK)
    rest = length & 3
    if rest == 3:
        h ^= data[whole + 2] << 16
    if rest >= 2:
        h ^= data[whole + 1] << 8
    if rest >= 1:
        h = ((h ^ data[whole]) * _M) & _MASK
    h ^= h >> 13
    h = (h * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes | None, value: bytes, partitions: int) -> int:
    """The partition of a record among ``partitions``.

    With a key, what Kafka's Java client computes: ``toPositive(murmur2(key)) % partitions``.
    Without one Kafka leaves the choice open; here the value decides, so that appending the same
    events again puts them into the same partitions. An empty key is a key.
    """
    return (murmur2(value if key is None else key) & 0x7FFFFFFF) % partitions
