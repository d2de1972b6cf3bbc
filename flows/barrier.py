"""The barrier: outputs that write beside the stages and hold an epoch until all is durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.control import Control

Item = TypeVar("Item")


ROWS = 1_000
"""Most records that are written together (specification, §3.1)."""


class Writer(Protocol[Item]):  # type: ignore[misc]
    """Makes items, each of one chunk, durable somewhere; when it returns, they are.

    It raises only for a bug or when the worker has to end.
    """

    name: str

    def __call__(self, *items: Item) -> None: ...


class BarrierPart(StatefulSinkPartition[Item, None], Generic[Item]):
    """Hands items to ``threads`` threads, of which at most ``depth`` wait or are being written; a
    snapshot waits for all of them.

    A thread takes whatever waits, up to :data:`ROWS` records as ``size`` counts them (None: one
    item): nothing waits for company, and what a slow store lets pile up goes in few calls. Whatever
    a writer raises is the worker's failure: the epoch then never commits.
    """

    def __init__(
        self,
        writer: Writer[Item],
        control: Control,
        threads: int,
        depth: int,
        size: Callable[[Item], int] | None = None,
    ) -> None:
        self._writer = writer
        self._control = control
        self._size = size
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"write-{writer.name}")
        self._room = threading.BoundedSemaphore(depth)
        self._lock = threading.Lock()
        self._waiting: deque[Item] = deque()
        self._pending: list[Future[None]] = []

    def write_batch(self, values: list[Item]) -> None:
        for value in values:
            while not self._room.acquire(timeout=0.1):
                if self._control.failed:
                    return
                _beat(self._control)
            self._pending = [f for f in self._pending if not f.done()]
            with self._lock:
                self._waiting.append(value)
            # As many calls as items: the one that takes an item ends when that is written.
            self._pending.append(self._pool.submit(self._write))

    def _write(self) -> None:
        items = self._take()
        if not items:
            return  # They went with others.
        try:
            if not self._control.failed:
                self._writer(*items)
        except BaseException as error:
            self._control.fail(error)
        finally:
            self._room.release(len(items))

    def _take(self) -> list[Item]:
        with self._lock:
            if not self._waiting:
                return []
            items = [self._waiting.popleft()]
            if self._size is not None:
                left = ROWS - self._size(items[0])
                while self._waiting and (left := left - self._size(self._waiting[0])) >= 0:
                    items.append(self._waiting.popleft())
            return items

    def snapshot(self) -> None:
        pending, self._pending = self._pending, []
        for future in pending:
            while not future.done() and not self._control.failed:
                wait((future,), 0.1)
                _beat(self._control)
        # A failure is in the control by now: the source asks it before it commits anything.

    def close(self) -> None:
        self._pool.shutdown(wait=not self._control.failed, cancel_futures=True)


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
    ) -> None:
        self._build = (writer, control, threads, depth, size)

    def list_parts(self) -> list[str]:
        return [self._build[0].name]

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> BarrierPart[Item]:  # noqa: ARG002
        return BarrierPart(*self._build)
