"""SIGTERM and SIGINT stop a worker in order, within a deadline."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from flows.control import Control

EXIT_STOP_DEADLINE = 4
EXIT_HUNG = 75
SAYING = 1.0
"""Seconds that a line of the log may hold up an end."""

_log = structlog.get_logger("worker")


@contextmanager
def signals(control: Control, deadline: float) -> Iterator[None]:
    """SIGTERM and SIGINT stop reading; what was read is committed, within ``deadline`` seconds.

    A second signal ends the process at once, uncommitted. Only the main thread can do this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    watcher = threading.Thread(
        target=_watch, args=(reading, deadline, control), name="stop", daemon=True
    )
    watcher.start()

    def stop(number: int) -> None:
        if control.stopping:
            os._exit(EXIT_STOP_DEADLINE)
        control.stop()
        os.write(writing, bytes([number]))

    try:
        with handled(stop):
            yield
    finally:
        os.close(writing)
        watcher.join()
        os.close(reading)


@contextmanager
def handled(stop: Callable[[int], None]) -> Iterator[None]:
    """Calls ``stop`` with the number of each SIGTERM and SIGINT, until the block ends. The code
    that a signal interrupts may hold any lock: ``stop`` may need none (a log does)."""

    def handler(number: int, _frame: FrameType | None) -> None:
        stop(number)

    before = {s: signal.signal(s, handler) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _watch(reading: int, deadline: float, control: Control) -> None:
    """Waits for the byte of a signal, and then for the end of the pipe, which is the worker's."""
    told = os.read(reading, 1)
    if not told:
        return
    _say(lambda: _log.info("stopping", signal=signal.Signals(told[0]).name))
    ending = select.poll()
    ending.register(reading, select.POLLIN)
    if not ending.poll(deadline * 1_000):
        if control.finished:  # Servers that hang hold up the closing, and nothing is lost by it.
            end("closing_cut_short", 0)
        end("stop_deadline_passed", EXIT_STOP_DEADLINE)


def end(event: str, code: int) -> None:
    """Ends the process at once, and says in which frames its threads were."""

    def tell() -> None:
        _log.error(event, exit_code=code)
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback(sys.__stderr__)

    _say(tell)
    os._exit(code)


def _say(tell: Callable[[], None]) -> None:
    """Nobody may read what standard error is connected to any more: it is not waited for."""
    teller = threading.Thread(target=tell, name="teller", daemon=True)
    teller.start()
    teller.join(SAYING)
