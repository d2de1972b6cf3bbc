"""The item of the dataflow: a micro-batch of one partition, and what a stage makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from schemas.failures import Rejected
from schemas.log import Partition

T_co = TypeVar("T_co", covariant=True)
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Chunk(msgspec.Struct, Generic[T_co], frozen=True):
    """Up to a few hundred items of one partition, in log order.

    ``log_time`` is the source's watermark in milliseconds: no partition will deliver an older
    record, except after a restart. ``trace`` belongs to who traces the dataflow; a stage need not
    pass it on.
    """

    partition: Partition
    items: Sequence[T_co]
    log_time: int = 0
    trace: object = None


class Outcome(msgspec.Struct, Generic[T_co], frozen=True):
    """What a stage made of a chunk: what passed, what was rejected, how many were duplicates."""

    passed: Chunk[T_co]
    rejected: tuple[Rejected, ...] = ()
    duplicates: int = 0


class Stage(Protocol[In_contra, Out_co]):
    """One of the eight stages.

    A stage raises only for a bug or a lost dependency; whatever is wrong with an event is a
    ``Rejected``. It must not mutate its input: after an exception the same chunk is run again
    event by event.
    """

    name: str

    def __call__(self, chunk: Chunk[In_contra], /) -> Outcome[Out_co]: ...
