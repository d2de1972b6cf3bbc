"""Drains the reconciliation queues: writes each record to the one store that is missing it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from bytewax.run import cli_main

from flows.control import Control
from flows.draining import Watched, told
from flows.keys import load_keys
from flows.reconciling import EPOCH, BatchWriter, Drain, Drained, QueuePart, build
from flows.settings import Settings
from flows.stopping import signals
from flows.stores import Stores, open_stores
from schemas.failures import UserError
from schemas.ports import Damaged, Unavailable
from schemas.records import STORES, Store

ONCE = Drain()
FOLLOW = Drain(follow=True)
BESIDE = Drain(follow=True, until_empty=True, patience=10.0)
LEAVING = 3.0
"""Seconds that a worker's end waits for stores and queues that hang: what was not settled comes
again."""
LETTING_GO = 2.0
"""Seconds more for those that are told not to wait."""

_log = structlog.get_logger("reconcile")


def reconcile(
    settings: Settings,
    only: Sequence[Store] = STORES,
    drain: Drain = ONCE,
    *,
    port: int | None = None,
) -> dict[Store, Drained]:
    """Drains the queues of the stores in ``only``, each as far as its store takes records; with
    :data:`FOLLOW` until SIGTERM or SIGINT. ``port``: where health and metrics are served meanwhile.

    Works beside a running worker. A record leaves its queue only after it is written, or is a dead
    letter; a crash in between writes it again, which changes nothing. Raises Unavailable when the
    queue itself cannot be read, UserError and Damaged.
    """
    keys = load_keys(settings.data, create=settings.dlq.plaintext)
    with open_stores(settings, keys) as stores:
        lanes = Lanes(stores, only, drain)
        with (
            signals(lanes.control, settings.worker.stop_seconds),
            told(settings, watched_of(lanes, stores), port),
        ):
            lanes.start()
            lanes.join()
        if lanes.failure is not None:
            raise lanes.failure
        left = stores.parking.backlog()
        for store, drained in lanes.drained.items():
            drained.left = left[store]
        return lanes.drained


@contextmanager
def reconciling(
    stores: Stores, control: Control, drain: Drain = BESIDE, every: float = 5.0
) -> Iterator[None]:
    """Drains the queues beside a worker that has opened these stores, until the block ends.

    Looks every few seconds whether something waits, and only then reads a queue: an idle one costs
    nothing. What the worker finds to be back is drained at once. A drain that fails is started
    again; meanwhile the worker is degraded, not ended.
    """
    ended = threading.Event()
    lanes: dict[Store, Lane] = {}
    shut: set[str] = set()

    def look() -> None:
        for name, state in control.circuits.items():
            if state != "closed":
                shut.add(name)
            elif name in shut:
                shut.discard(name)
                if name in lanes:
                    lanes[name].hurry()
        for store, left in stores.parking.backlog().items():
            lane = lanes.get(store)
            if lane is not None and lane.failure is not None:
                control.degrade(f"reconcile {store}", type(lane.failure).__name__)
            elif lane is not None:
                control.degrade(f"reconcile {store}", None)
            if left and (lane is None or not lane.alive) and not ended.is_set():
                lanes[store] = Lane(stores, store, drain)
                lanes[store].start()

    def watch() -> None:
        while not ended.wait(every):
            try:
                look()
            except (Unavailable, UserError, Damaged):
                continue  # Whoever parks something finds out as well, and says so.
            except Exception as error:  # Nobody else would look again.
                control.degrade("reconcile", type(error).__name__)
                _log.warning("not_looked", error=type(error).__name__)
            else:
                control.degrade("reconcile", None)

    watcher = threading.Thread(target=watch, name="reconcile", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        late = time.monotonic() + LEAVING
        watcher.join(LEAVING)
        started = list(lanes.values())
        for lane in started:
            lane.control.stop()
        for lane in started:
            lane.join(max(0.0, late - time.monotonic()))
        # Who still waits for something waits for what is closed now, and may not outlive it.
        late = time.monotonic() + LETTING_GO
        for lane in started:
            if lane.alive:
                lane.give_up()
        for lane in started:
            lane.join(max(0.0, late - time.monotonic()))


class Lane:
    """The dataflow of one store, in a thread of its own; ``control`` stops it."""

    def __init__(self, stores: Stores, store: Store, drain: Drain) -> None:
        self.control = Control(quiet=True)
        self.drained = Drained()
        self._stores = stores
        self._store = store
        self._part = QueuePart(stores.parking, store, self.control, drain, self.drained)
        self._thread = threading.Thread(target=self._run, name=f"reconcile-{store}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """The store takes records again."""
        self._part.hurry()

    def give_up(self) -> None:
        """Ends without settling what is on its way: it comes again."""
        self.control.fail(Unavailable(self._store, "stopped"))

    def join(self, seconds: float | None = None) -> None:
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def failure(self) -> BaseException | None:
        return self.control.failure

    def _run(self) -> None:
        stores, control = self._stores, self.control
        writer = BatchWriter(stores.sinks[self._store], stores.letters, control)
        try:
            cli_main(  # type: ignore[no-untyped-call]
                build(self._part, writer, control), workers_per_process=1, epoch_interval=EPOCH
            )
        except BaseException as error:
            control.fail(error)
        try:
            stores.parking.release(self._store)
        except BaseException as error:
            control.fail(error)
        if control.failure is not None:
            _log.error("failed", store=self._store, error=type(control.failure).__name__)


class Lanes:
    """The dataflows of several stores. The first failure ends all; ``control`` stops all."""

    def __init__(self, stores: Stores, only: Sequence[Store], drain: Drain) -> None:
        self.control = Control(quiet=True)
        self._lanes = {store: Lane(stores, store, drain) for store in only}
        self.drained = {store: lane.drained for store, lane in self._lanes.items()}

    def start(self) -> None:
        for lane in self._lanes.values():
            lane.start()

    def stop(self) -> None:
        """Asks all to end after what is on its way."""
        for lane in self._lanes.values():
            lane.control.stop()

    def join(self) -> None:
        """Waits for the end of all, which ``control`` may ask for meanwhile."""
        while any(lane.alive for lane in self._lanes.values()):
            if self.control.stopping or self.failure is not None:
                self.stop()
            for lane in self._lanes.values():
                lane.join(0.1)

    @property
    def failure(self) -> BaseException | None:
        failures = [lane.failure for lane in self._lanes.values() if lane.failure is not None]
        return failures[0] if failures else None

    @property
    def controls(self) -> list[Control]:
        """Of each dataflow."""
        return [lane.control for lane in self._lanes.values()]

    def done(self) -> dict[str, dict[str, int]]:
        """What left each store's queue."""
        return {s: {"written": d.written, "rejected": d.rejected} for s, d in self.drained.items()}

    def codes(self) -> dict[str, str]:
        """Why a store takes nothing, where it does not."""
        return {store: min(d.codes) for store, d in self.drained.items() if d.codes}

    @property
    def troubles(self) -> dict[str, str]:
        """What does not work at the moment, with the code of why."""
        lanes = self._lanes.values()
        return {k: v for lane in lanes for k, v in lane.control.troubles.items()}


def watched_of(lanes: Lanes, stores: Stores) -> Watched:
    """What probes are told of these dataflows."""

    def backlog() -> dict[str, int]:
        found = stores.parking.backlog()
        return {store: found[store] for store in lanes.drained}

    return Watched(lambda: lanes.controls, lanes.done, lanes.codes, backlog)
