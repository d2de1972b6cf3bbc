"""Drains the reconciliation queues: writes each record to the one store that is missing it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bytewax.run import cli_main

from flows.control import Control
from flows.keys import load_keys
from flows.reconciling import (
    EPOCH,
    BatchWriter,
    Drain,
    Drained,
    QueuePart,
    build,
)
from flows.settings import Settings
from flows.stores import Stores, open_stores
from schemas.records import STORES, Store

ONCE = Drain()
FOLLOW = Drain(follow=True)


def reconcile(
    settings: Settings, only: Sequence[Store] = STORES, drain: Drain = ONCE
) -> dict[Store, Drained]:
    """Drains the queues of the stores in ``only``, each as far as its store takes records; with
    :data:`FOLLOW` until SIGTERM or SIGINT.

    Works beside a running worker. A record leaves its queue only after it is written, or is a dead
    letter; a crash in between writes it again, which changes nothing. Raises Unavailable when the
    queue itself cannot be read, UserError and Damaged.
    """
    from flows.worker import signals

    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        lanes = Lanes(stores, only, drain)
        with signals(lanes.control, settings.worker.stop_seconds):
            lanes.start()
            lanes.join()
        if lanes.failure is not None:
            raise lanes.failure
        left = stores.parking.backlog()
        for store, drained in lanes.drained.items():
            drained.left = left[store]
        return lanes.drained


@contextmanager
def reconciling(stores: Stores, drain: Drain = FOLLOW) -> Iterator[Lanes]:
    """Drains the queues beside a worker that has opened these stores, until the block ends."""
    lanes = Lanes(stores, STORES, drain)
    lanes.start()
    try:
        yield lanes
    finally:
        lanes.stop()
        lanes.join()


class Lanes:
    """A dataflow for each store, in a thread of its own. The first failure ends all; ``control``
    stops all."""

    def __init__(self, stores: Stores, only: Sequence[Store], drain: Drain) -> None:
        self._stores = stores
        self._drain = drain
        self.control = Control(quiet=True)
        self.drained: dict[Store, Drained] = {store: Drained() for store in only}
        self._controls = {store: Control(quiet=True) for store in only}
        self._threads = [
            threading.Thread(target=self._run, args=(store,), name=f"reconcile-{store}")
            for store in only
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Asks all to end after what is on its way."""
        for control in (self.control, *self._controls.values()):
            control.stop()

    def join(self) -> None:
        """Waits for the end of all, which ``control`` may ask for meanwhile."""
        for thread in self._threads:
            while thread.is_alive():
                if self.control.stopping:
                    self.stop()
                thread.join(0.1)

    @property
    def failure(self) -> BaseException | None:
        failures = [c.failure for c in self._controls.values() if c.failure is not None]
        return failures[0] if failures else None

    @property
    def troubles(self) -> dict[str, str]:
        """What does not work at the moment, with the code of why."""
        return {k: v for control in self._controls.values() for k, v in control.troubles.items()}

    def _run(self, store: Store) -> None:
        control, stores = self._controls[store], self._stores
        part = QueuePart(stores.parking, store, control, self._drain, self.drained[store])
        writer = BatchWriter(stores.sinks[store], stores.letters, control)
        try:
            cli_main(  # type: ignore[no-untyped-call]
                build(part, writer, control), workers_per_process=1, epoch_interval=EPOCH
            )
        except BaseException as error:
            control.fail(error)
        finally:
            try:
                stores.parking.release(store)
            except BaseException as error:
                control.fail(error)
            if control.failed:
                self.stop()
