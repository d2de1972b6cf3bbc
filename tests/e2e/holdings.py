"""All that the stores hold, asked through their own protocols: embedded and servers alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from flows.keys import load_keys
from flows.settings import Settings
from flows.stores import Stores, open_stores
from flows.views.export import hash_of
from schemas.log import Original
from schemas.ports import Stored
from schemas.queues import DeadLetters
from schemas.records import STORES, RecordId, Store

_BATCH = 500
SHOWN = 5

Rows = dict[Any, Any]


class Holdings(msgspec.Struct, frozen=True):
    """``records``: of each store, by kind and id, what it holds without origin, version and
    pipeline. ``counts``: how many records each store says it has. ``letters``: by the hash of what
    was sent (or by store and record), stage and code. ``parked``: what still waits."""

    graph: str
    records: dict[Store, Rows]
    counts: dict[Store, int]
    letters: Rows
    parked: dict[Store, int]


def holdings(settings: Settings) -> Holdings:
    """Reads everything; the graph store's records say which ids to ask the others for."""
    with open_stores(settings, load_keys(settings.data, create=False)) as stores:
        ids = [stamp.record_id for stamp in stores.views.graph.records()]
        return Holdings(
            hash_of(stores.views.graph),
            {store: dict(_records(stores, store, ids)) for store in STORES},
            {store: stores.sinks[store].count() for store in STORES},
            dict(_letters(stores.letters)),
            dict(stores.parking.backlog()),
        )


def assert_equal(expected: Holdings, found: Holdings) -> None:
    """Says what is missing, too much or different, a few of each."""
    lines = []
    pairs: list[tuple[str, Mapping[Any, Any], Mapping[Any, Any]]] = [
        (store, expected.records[store], found.records[store]) for store in STORES
    ]
    for name, want, have in [*pairs, ("letters", expected.letters, found.letters)]:
        missing, extra = want.keys() - have.keys(), have.keys() - want.keys()
        changed = [key for key in want.keys() & have.keys() if want[key] != have[key]]
        for what, keys in (("missing", missing), ("too much", extra), ("different", changed)):
            lines += [f"{name}: {len(keys)} {what}"] if keys else []
            lines += [f"    {key}" for key in sorted(keys, key=str)[:SHOWN]]
        for key in sorted(changed, key=str)[:SHOWN]:
            lines.append(f"        expected {want[key]!s:.900}")
            lines.append(f"        found    {have[key]!s:.900}")
    if expected.counts != found.counts:
        lines.append(f"counts: expected {expected.counts}, found {found.counts}")
    if expected.parked != found.parked:
        lines.append(f"parked: expected {expected.parked}, found {found.parked}")
    if not lines and expected.graph != found.graph:
        lines.append("graph: the hashes differ, but no record does")
    assert not lines, "\n" + "\n".join(lines)


def _records(stores: Stores, store: Store, ids: Sequence[RecordId]) -> Iterator[tuple[Any, Any]]:
    rest = iter(ids)
    while part := list(islice(rest, _BATCH)):
        for identity, stored in stores.sinks[store].fetch(part).items():
            yield (identity.kind, identity.id), _plain(stored)


def _plain(stored: Stored) -> tuple[Any, ...]:
    stamp = stored.stamp
    content = msgspec.json.encode(stored.content, order="sorted", enc_hook=_encode).decode()
    return (stamp.time, stamp.tenant, stamp.user, stamp.sha256, content)


def _encode(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


def _letters(letters: DeadLetters) -> Iterator[tuple[Any, Any]]:
    after = 0
    while found := letters.list(resolved=None, after=after, limit=1_000):
        for letter in found:
            held = letters.open(letter.sequence)
            if isinstance(held, Original):
                key: Any = hashlib.sha256(held.open()[2]).hexdigest()
            elif held is not None:
                key = (held.store, letter.event_kind, letter.event_id)
            else:
                key = (letter.event_kind, letter.event_id)
            yield key, (letter.kind, letter.stage, letter.code, letter.path, letter.resolved)
        after = found[-1].sequence
