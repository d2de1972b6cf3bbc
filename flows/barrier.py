"""The barrier: outputs that write beside the stages and hold an epoch until all is durable."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.control import Control

Item = TypeVar("Item")


ROWS = 500
"""Most records that are written together: a chunk, and a transaction in Neo4j, has no more. Twice
as many would bring a slow store near the time at which its breaker takes it for down."""
LONG = 0.5
"""Seconds after which what piles up behind a call does not wait for its end."""


class Writer(Protocol[Item]):  # type: ignore[misc]
    """Makes items, each of one chunk, durable somewhere; when it returns, they are.

    It raises only for a bug or when the worker has to end.
    """

    name: str

    def __call__(self, *items: Item) -> None: ...


class BarrierPart(StatefulSinkPartition[Item, None], Generic[Item]):
    """Hands items to ``threads`` threads, of which at most ``depth`` wait or are being written.

    A snapshot waits for all of them; ``ahead``: it leaves that to the source, which gets them from
    the control, and the stages go on meanwhile. Whatever a writer raises is the worker's failure:
    the epoch then never commits.

    With ``size``, which counts the records of an item, what piles up while a call is under way goes
    in one, up to :data:`ROWS` records: many small calls cost a store far more than few large ones.
    A second thread begins when that would fill a call, or the first is taking :data:`LONG`.
    """

    def __init__(
        self,
        writer: Writer[Item],
        control: Control,
        threads: int,
        depth: int,
        size: Callable[[Item], int] | None = None,
        ahead: bool = False,
    ) -> None:
        self._writer = writer
        self._control = control
        self._size = size
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"write-{writer.name}")
        self._room = threading.BoundedSemaphore(depth)
        self._turn = threading.Condition()
        self._waiting: deque[tuple[Item, Future[None]]] = deque()
        self._records = self._writing = 0
        self._began = 0.0
        self._called = False
        self._pending: list[Future[None]] = []

    def write_batch(self, values: list[Item]) -> None:
        for value in values:
            while not self._room.acquire(timeout=0.1):
                if self._control.failed:
                    return
                _beat(self._control)
            self._pending = [f for f in self._pending if not f.done()]
            written: Future[None] = Future()
            self._pending.append(written)
            with self._turn:
                self._waiting.append((value, written))
                self._records += self._count(value)
                called, self._called = self._called, True
                self._turn.notify()
            if not called:
                self._pool.submit(self._write)

    def _write(self) -> None:
        """Writes what waits, as long as there is something for this thread."""
        with self._turn:
            self._called = False
        while taken := self._take():
            try:
                if not self._control.failed:
                    self._writer(*(item for item, _ in taken))
            except BaseException as error:
                self._control.fail(error)
            finally:
                with self._turn:
                    self._writing -= 1
                    self._turn.notify_all()
                for _, written in taken:
                    written.set_result(None)
                self._room.release(len(taken))

    def _take(self) -> list[tuple[Item, Future[None]]]:
        """What this thread is to write now; nothing where it goes with another's next call."""
        taken: list[tuple[Item, Future[None]]] = []
        with self._turn:
            while self._waiting and self._writing and self._records < ROWS:
                rest = self._began + LONG - time.monotonic()
                if rest <= 0:
                    break
                self._turn.wait(rest)
            left = ROWS
            while self._waiting and (not taken or left >= self._count(self._waiting[0][0])):
                taken.append(self._waiting.popleft())
                left -= self._count(taken[-1][0])
            if taken:
                self._began = time.monotonic()
                self._writing += 1
                self._records -= ROWS - left
        return taken

    def _count(self, item: Item) -> int:
        return ROWS if self._size is None else self._size(item)

    def snapshot(self) -> None:
        pending, self._pending = self._pending, []
        if self._ahead:
            self._control.unwritten += pending
        else:
            await_writes(pending, self._control)
        # A failure is in the control by now: the source asks it before it commits anything.

    def close(self) -> None:
        self._pool.shutdown(wait=not self._control.failed, cancel_futures=True)


def await_writes(pending: Sequence[Future[None]], control: Control) -> None:
    """Returns when all are written, or the worker has failed."""
    for written in pending:
        while not written.done() and not control.failed:
            wait((written,), 0.1)
            _beat(control)


def _beat(control: Control) -> None:
    """Waiting for what is known not to work is alive; waiting for nothing known is not."""
    if control.blocking:
        control.beat()


class BarrierSink(FixedPartitionedSink[Item, None], Generic[Item]):
    """One partition of one writer, behind the barrier."""

    def __init__(
        self,
        writer: Writer[Item],
        control: Control,
        threads: int = 2,
        depth: int = 8,
        size: Callable[[Item], int] | None = None,
        ahead: bool = False,
    ) -> None:
        self._build = (writer, control, threads, depth, size, ahead)

    def list_parts(self) -> list[str]:
        return [self._build[0].name]

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> BarrierPart[Item]:  # noqa: ARG002
        return BarrierPart(*self._build)
