"""Writes mutations outside the ingest: once, and what a store cannot take now is parked."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from flows.delivery import write
from flows.stores import SELECT, Stores
from schemas.queues import Refused
from schemas.records import Mutation, Store


def write_all(stores: Stores, mutations: Sequence[Mutation]) -> bool:
    """Writes to the four stores at once, and queues what is lacking still; when it returns, all of
    it is durable somewhere. False when something is parked instead of written.

    Raises Unavailable where a queue cannot be written, and Damaged.
    """
    with ThreadPoolExecutor(len(stores.sinks), thread_name_prefix="write") as pool:
        pending = [pool.submit(_write, stores, store, mutations) for store in stores.sinks]
    written = [future.result() for future in pending]
    requests = [m.request for m in mutations if m.request is not None]
    if requests:
        stores.requests.put(requests)
    return all(written)


def _write(stores: Stores, store: Store, mutations: Sequence[Mutation]) -> bool:
    records = [r for m in mutations if (r := SELECT[store](m)) is not None]
    if not records:
        return True
    results = list(zip(records, write(stores.sinks[store], records), strict=True))
    refused = [Refused(store, r, x.code) for r, x in results if x.status == "rejected"]
    parked = [(r, x.code) for r, x in results if x.status == "unavailable"]
    if refused:
        stores.letters.put(refused)
    if parked:
        stores.parking.park(store, parked)
    return not parked
