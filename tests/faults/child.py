"""The worker with events that do it harm: ``python -m tests.faults.child FAULT… [options]``.

``FAULT`` is ``kind:stage:event id``. The stages are the real ones; before a stage runs on a chunk
with that event, the fault strikes. Nothing in the product knows of this. ``--debug``: everything
that a library would log, and all of ours, is in the log.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from flows import worker
from flows.keys import Keys
from flows.logs import configure
from flows.pipeline import Pipeline, build_pipeline
from flows.settings import Settings, load_settings
from flows.stores import Stores
from schemas.chunk import Chunk, Outcome, Stage
from schemas.failures import UserError
from schemas.items import Decoded, Measured

SECRET = "the words of an exception of a library"


def _raise() -> None:
    raise ValueError(SECRET)


def _loop() -> None:
    while True:
        pass


def _deadlock(library: ctypes.CDLL) -> None:
    """Waits for ever inside C: a mutex that is locked twice answers to no signal."""
    mutex = ctypes.create_string_buffer(256)  # Zeros are PTHREAD_MUTEX_INITIALIZER.
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


FAULTS: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "loop": _loop,
    "hang": lambda: _deadlock(ctypes.CDLL(None)),
    "hang-gil": lambda: _deadlock(ctypes.PyDLL(None)),
    "exit": lambda: os._exit(9),
    "crash": lambda: ctypes.string_at(0),
}


class Harmful:
    """A stage with one event that does harm in it."""

    def __init__(self, stage: Stage[Any, Any], event_id: str, fault: Callable[[], object]) -> None:
        self.name = stage.name
        self._stage = stage
        self._event_id = event_id
        self._fault = fault

    def __call__(self, chunk: Chunk[Any], /) -> Outcome[Any]:
        if any(_id(item) == self._event_id for item in chunk.items):
            self._fault()
        return self._stage(chunk)


def _id(item: Any) -> str:
    if isinstance(item, Measured):
        return item.decoded.id
    return item.id if isinstance(item, Decoded) else str(item.event.id)


def build(
    settings: Settings, keys: Keys, stores: Stores, *, faults: list[tuple[str, str, str]]
) -> Pipeline:
    pipeline = build_pipeline(settings, keys, stores)
    stages = list(pipeline.stages)
    names = [stage.name for stage in stages]
    for kind, stage, event_id in faults:
        index = names.index(stage)
        stages[index] = Harmful(stages[index], event_id, FAULTS[kind])
    return msgspec.structs.replace(pipeline, stages=tuple(stages))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("fault", nargs="*")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    faults: list[Any] = [fault.split(":") for fault in given.fault]
    configure(logging.DEBUG if given.debug else logging.INFO)
    if given.debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    worker.WATCHDOG_GRACE = 1.0
    settings = load_settings(given.config, data=given.data)
    try:
        worker.run(settings, build=functools.partial(build, faults=faults))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
