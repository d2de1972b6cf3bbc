"""Erases events: from every store, with a tombstone, and from what waits of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

import msgspec

from flows.keys import load_keys
from flows.pipeline import build_pii
from flows.settings import Settings
from flows.stores import Stores, open_stores
from schemas.failures import UserError
from schemas.items import Kind, SessionRef, kind_of
from schemas.ports import Unavailable
from schemas.queues import Request
from schemas.records import STORES, RecordId
from sinks.sqlite.erasing import erase_waiting

BATCH = 500


class Incomplete(UserError):
    """An erasure that has to be repeated."""

    exit_code = 4


class Erased(msgspec.Struct):
    """``events``: erased now or before. ``waiting``: what was taken out of queues and joins in the
    data folder. ``parked``: records that wait for the graph in Kafka, among which those of a user
    cannot be found before they are written."""

    events: int = 0
    waiting: int = 0
    parked: int = 0


def erase(settings: Settings, ids: Sequence[RecordId] = (), user: str | None = None) -> Erased:
    """Erases these events, and all of which the stores say that they are this user's.

    Safe beside running workers, and to repeat. Afterwards no replay, reconciliation or enrichment
    brings them back, and no service hears of them. Raises Incomplete where a store did not answer:
    the others have erased.
    """
    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        result = Erased()
        wanted = list(dict.fromkeys(ids))
        if user is not None:
            screened = build_pii(settings, keys).screen_identifier(user)
            wanted = list(dict.fromkeys([*wanted, *_of_user(settings, stores, screened)]))
            if settings.backends.queues != "sqlite":
                result.parked = stores.parking.backlog()["graph"]
        down: dict[str, str] = {}
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            for store in STORES:
                down |= _delete(stores, store, part)
            if stores.folder.opened is not None:
                result.waiting += erase_waiting(stores.folder.opened, part)
        result.events = len(wanted)
    if down:
        what = ", ".join(f"{store} ({code})" for store, code in down.items())
        raise Incomplete(f"Not everything is erased yet: {what}. Do it again when it works.")
    return result


def identities(names: Sequence[str]) -> list[RecordId]:
    """Events as a person names them: ``prompt/<event id>``. Raises UserError."""
    found = []
    for name in names:
        kind, slash, id_ = name.partition("/")
        if not slash or kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise UserError(f"{name} names no event: expected <kind>/<event id>, kind of {kinds}.")
        found.append(RecordId(kind, id_.lower()))  # type: ignore[arg-type]
    return found


def _delete(stores: Stores, store: str, ids: Sequence[RecordId]) -> dict[str, str]:
    """What could not be erased, with the code of why. Raises UserError for what is no id."""
    try:
        results = stores.sinks[store].delete(ids)  # type: ignore[index]
    except Unavailable as error:
        return {store: error.code}
    codes = {result.code for result in results if result.status == "unavailable"}
    if any(result.status == "rejected" for result in results):
        raise UserError("An event id is a UUID, as 'memory-graph show' and 'search' print it.")
    return {store: min(codes)} if codes else {}


def _of_user(settings: Settings, stores: Stores, user: str) -> Iterator[RecordId]:
    for stamp in stores.views.graph.records():
        if stamp.user == user:
            yield stamp.record_id
    if settings.backends.queues == "sqlite":
        yield from _queued(stores, user)


def _queued(stores: Stores, user: str) -> Iterator[RecordId]:
    """What has not come to the graph yet."""
    for store in STORES:
        after = 0
        while parked := stores.parking.take(store, BATCH, after):
            after = parked[-1].sequence
            yield from (p.record.stamp.record_id for p in parked if p.record.stamp.user == user)
    after = 0
    while queued := stores.requests.take(BATCH, after):  # type: ignore[attr-defined]
        after = queued[-1].sequence
        for one in queued:
            session = _session(one.request)
            if session is not None and session.user == user:
                event = one.request.item.event
                yield RecordId(kind_of(event), event.id)


def _session(request: Request) -> SessionRef | None:
    return request.item.event.session if request.side is None else request.side.session
