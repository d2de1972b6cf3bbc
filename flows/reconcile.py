"""Drains the reconciliation queues: writes each record to the one store that is missing it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from flows.delivery import write
from flows.keys import load_keys
from flows.settings import Settings
from flows.stores import Stores, open_stores
from schemas.ports import Result
from schemas.queues import Parked, Refused
from schemas.records import STORES, Store
from sinks.sqlite.parking import SqliteParking

BATCH = 500
MOST_ATTEMPTS = 5
"""Attempts after which a record that makes its store raise becomes a dead letter."""


class Drained(msgspec.Struct):
    """What became of one store's queue. ``left`` is what waits now, with the codes of why."""

    written: int = 0
    rejected: int = 0
    left: int = 0
    codes: dict[str, int] = {}


def reconcile(settings: Settings, only: Sequence[Store] = STORES) -> dict[Store, Drained]:
    """Drains the queues of the stores in ``only``, each as far as its store takes records.

    Works beside a running worker. A record leaves its queue only after it is written, or is a dead
    letter; a crash in between writes it again, which changes nothing. Raises Unavailable when the
    queue itself cannot be read, and Damaged.
    """
    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        return {store: drain(stores, store) for store in only}


def drain(stores: Stores, store: Store) -> Drained:
    """Tries everything in one queue once; stops early when the store takes nothing at all."""
    result = Drained()
    after = 0
    while batch := _queue(stores).take(store, BATCH, after):
        after = batch[-1].sequence
        if not _batch(stores, store, batch, result):
            break
    result.left = stores.parking.backlog()[store]
    return result


def _batch(stores: Stores, store: Store, batch: Sequence[Parked], result: Drained) -> bool:
    """One batch; False when the store took none of it."""
    outcomes = write(stores.sinks[store], [parked.record for parked in batch])
    done: list[Parked] = []
    refused: list[Refused] = []
    again: list[tuple[Parked, str]] = []
    for parked, outcome in zip(batch, outcomes, strict=True):
        if _hopeless(parked, outcome):
            refused.append(Refused(store, parked.record, outcome.code))
            done.append(parked)
        elif outcome.status == "unavailable":
            again.append((parked, outcome.code))
            result.codes[outcome.code] = result.codes.get(outcome.code, 0) + 1
        else:
            done.append(parked)
    if refused:
        stores.letters.put(refused)
    _queue(stores).settle(done)
    if again:
        _queue(stores).failed(again)
    result.rejected += len(refused)
    result.written += len(done) - len(refused)
    return len(again) < len(batch)


def _queue(stores: Stores) -> SqliteParking:
    assert isinstance(stores.parking, SqliteParking)
    return stores.parking


def _hopeless(parked: Parked, outcome: Result) -> bool:
    if outcome.status == "rejected":
        return True
    raised = outcome.status == "unavailable" and outcome.code == "internal_error"
    return raised and parked.attempts + 1 >= MOST_ATTEMPTS
