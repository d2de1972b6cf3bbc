"""Where a data folder stands: offsets, lag, the backlog of every branch, what is stuck and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import msgspec

from flows.bus import open_bus
from flows.health import Health, read_health
from flows.keys import load_keys
from flows.lock import holder_of
from flows.settings import Settings
from flows.stores import Stores, open_stores
from schemas.log import Partition
from schemas.ports import Unavailable
from schemas.records import STORES, Store

SILENT = 30.0
"""Seconds; a worker leaves its health four times in one."""
T = TypeVar("T")


class PartitionStatus(msgspec.Struct, frozen=True):
    """``waits_for``: why the lag is not 0, in words; empty when it is."""

    partition: str
    committed: int
    end: int
    lag: int
    waits_for: str


class Status(msgspec.Struct, frozen=True):
    """``worker``: its process id, None when none runs; ``says``: that, and how it is, in words.
    ``stores``: store, records, parked. ``lacking``: events that wait for their enrichment.

    What a store, a queue or a log that does not work would say is None, or empty; ``troubles``
    names it, with the code of why.
    """

    worker: int | None
    says: str
    alerts: list[str]
    partitions: list[PartitionStatus]
    stores: list[tuple[Store, int | None, int | None]]
    dead_letters: dict[str, int]
    waiting: int | None
    orphans: int | None
    lacking: int | None
    troubles: dict[str, str]


def status_of(settings: Settings) -> Status:
    """Reads the log's ends, the store file and what the worker last said of itself."""
    worker = holder_of(settings.data)
    health = read_health(settings.data) if worker is not None else None
    if health is not None and health.pid != worker:
        health = None  # Of the one before.
    troubles = dict(health.troubles) if health else {}
    blocking = dict(health.blocking) if health else {}
    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        bus = open_bus(settings, keys, stores.offsets)
        with closing(bus):
            places = _known(lambda: (bus.ends(), bus.committed()), troubles)
        ends, committed = ({}, {}) if places is None else places
        backlog = _known(stores.parking.backlog, troubles)
        partitions = [
            PartitionStatus(
                str(p),
                committed.get(p, 0),
                end,
                max(end - committed.get(p, 0), 0),
                _waits_for(p, max(end - committed.get(p, 0), 0), worker, blocking, troubles),
            )
            for p, end in sorted(ends.items())
            if end or p in committed
        ]
        letters = dict(_known(stores.letters.counts, troubles) or {})
        counts = {s: _known(stores.sinks[s].count, troubles) for s in STORES}
        waiting = _known(lambda: _responses(stores, "waiting"), troubles)
        orphans = _known(lambda: _responses(stores, "orphan"), troubles)
        lacking = _known(stores.requests.backlog, troubles)
        return Status(
            worker=worker,
            says=_worker(worker, health, time.time()),
            alerts=_alerts(letters, sum(committed.values()), settings, troubles, health),
            partitions=partitions,
            stores=[(s, counts[s], None if backlog is None else backlog.get(s, 0)) for s in STORES],
            dead_letters=letters,
            waiting=waiting,
            orphans=orphans,
            lacking=lacking,
            troubles=troubles,
        )


def _worker(process: int | None, health: Health | None, now: float) -> str:
    """A process that runs may stand still all the same."""
    if process is None:
        return "not running"
    state = ""
    if health is None:
        state = ": it has not said anything yet"
    elif now - health.time > SILENT:
        state = f": it has said nothing for {now - health.time:.0f} s"
    elif health.status != "ok":
        state = f": {health.status}"
    return f"running (process {process}){state}"


def _known(ask: Callable[[], T], troubles: dict[str, str]) -> T | None:
    """The answer, or None where what is asked is in trouble, which is then noted."""
    try:
        return ask()
    except Unavailable as error:
        troubles.setdefault(error.what, error.code)
        return None


def _waits_for(
    partition: Partition,
    lag: int,
    worker: int | None,
    blocking: dict[str, str],
    troubles: dict[str, str],
) -> str:
    """A store that is down holds up nobody: only what reading itself waits for does."""
    if not lag:
        return ""
    if worker is None:
        return "a worker: none runs here"
    stopped = troubles.get(f"partition {partition}")
    if stopped is not None:
        return f"a decision ({stopped}): see the worker's log"
    if blocking:
        return ", ".join(f"{what} ({code})" for what, code in sorted(blocking.items()))
    return "its turn: the worker is reading"


def _alerts(
    letters: dict[str, int],
    consumed: int,
    settings: Settings,
    troubles: dict[str, str],
    health: Health | None,
) -> list[str]:
    found = [f"{what} does not work ({code})" for what, code in sorted(troubles.items())]
    if health is not None and health.alert:
        limit = settings.metrics.rejected_share
        found.append(f"{health.rejected_share:.1%} of the last events rejected (limit {limit:.1%})")
    if health is not None and "crash_loop" in health.alerts:
        found.append("a worker dies again and again: see the supervisor's log")
    share = sum(letters.values()) / consumed if consumed else 0.0
    if share > settings.metrics.rejected_share:
        found.append(
            f"{share:.1%} of all events are open dead letters (limit "
            f"{settings.metrics.rejected_share:.1%}): see 'memory-graph dlq list'"
        )
    return found


def _responses(stores: Stores, state: str) -> int:
    return stores.views.graph.count("Response", {"state": state})
