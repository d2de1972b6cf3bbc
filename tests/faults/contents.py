"""Everything that a data folder holds, comparable; and what became of every record of the log."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from flows.settings import load_settings
from flows.stores import opened_views
from flows.views.export import hash_of
from schemas.log import LogRecord

Place = tuple[str, int, int]
Rows = Mapping[tuple[Any, ...], tuple[Any, ...]]
SHOWN = 5
_KINDS = {
    "llm.prompts.v1": "prompt",
    "llm.responses.v1": "response",
    "llm.sessions.v1": "session",
}
_TABLES = {
    "vectors": (
        "SELECT kind, id, sha256, tenant, user, model, text_hash, metadata, embedding"
        " FROM vector_record"
    ),
    "points": (
        "SELECT kind, id, sha256, tenant, user, time_ns, tags, fields FROM timeseries_point"
    ),
    "documents": (
        "SELECT kind, id, sha256, tenant, user, session, model, fields, text FROM search_document"
    ),
}
_LETTERS = (
    "SELECT topic, partition, position, store, stage, code, path, event_id, resolved"
    " FROM dead_letters"
)


class Contents(NamedTuple):
    """Origins, versions, pipeline and run times are no part of it; all else is."""

    graph: str
    tables: dict[str, Rows]


def contents(database: Path) -> Contents:
    """Reads a data folder that no worker is using; checks that the file and its index are sound."""
    with opened_views(load_settings(data=database.parent)) as stores:
        digest = hash_of(stores.graph)
        graph: dict[tuple[Any, ...], tuple[Any, ...]] = {
            ("node", n.label, n.key): (_text(n.properties),) for n in stores.graph.nodes()
        }
        graph |= {
            ("edge", e.type, *e.source, *e.target): (_text(e.properties),)
            for e in stores.graph.all_edges()
        }
    tables: dict[str, Rows] = {"graph": graph}
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check = "INSERT INTO search_index (search_index, rank) VALUES ('integrity-check', 1)"
        connection.execute(check)
        for name, sql in _TABLES.items():
            rows = connection.execute(sql).fetchall()
            tables[name] = {row[:2]: tuple(map(_shorten, row[2:])) for row in rows}
            assert len(tables[name]) == len(rows), f"{name}: an event stands there twice"
        letters = connection.execute(_LETTERS).fetchall()
        tables["dead letters"] = {row[:4]: row[4:] for row in letters}
        parked = connection.execute("SELECT store, kind, id, code FROM parking").fetchall()
        tables["parked"] = {row[:3]: row[3:] for row in parked}
    return Contents(digest, tables)


def differences(expected: Contents, found: Contents, leave_out: Iterable[str] = ()) -> str:
    """What is missing, too much or different, a few of each kind; empty when nothing is."""
    lines = []
    for name, want in expected.tables.items():
        if name in leave_out:
            continue
        have = found.tables[name]
        missing, extra = want.keys() - have.keys(), have.keys() - want.keys()
        changed = sorted((k for k in want.keys() & have.keys() if want[k] != have[k]), key=str)
        for what, keys in (("missing", missing), ("too much", extra)):
            lines += [f"{name}: {len(keys)} {what}"] if keys else []
            lines += [f"    {key}" for key in sorted(keys, key=str)[:SHOWN]]
        lines += [f"{name}: {len(changed)} different"] if changed else []
        for key in changed[:SHOWN]:
            pairs = [(a, b) for a, b in zip(want[key], have[key], strict=True) if a != b]
            lines += [f"    {key}"]
            lines += [f"        expected {a!s:.600}\n        found    {b!s:.600}" for a, b in pairs]
    if not lines and "graph" not in leave_out and expected.graph != found.graph:
        lines.append("graph: the hashes differ, but no node and no edge does")
    return "\n".join(lines)


def assert_same(expected: Contents, found: Contents, leave_out: Iterable[str] = ()) -> None:
    found_differences = differences(expected, found, leave_out)
    assert not found_differences, "\n" + found_differences


def fates(database: Path, records: Iterable[LogRecord]) -> Counter[str]:
    """What became of each record of the log: ``written`` (``refused`` with the code where a store
    will never take its part), ``duplicate``, the code of its dead letter, or ``lost``, which must
    not be. Checked in the stores, not in what the worker says."""
    with closing(sqlite3.connect(database)) as connection:

        def places(sql: str) -> dict[Place, str]:
            return {row[:3]: row[3] for row in connection.execute(sql)}

        origin = 'topic, "partition", "offset"'
        held = [
            places(f"SELECT {origin}, '' FROM {store}_{table}")
            for store, table in (("graph", "record"), ("search", "document"))
        ]
        letter = "SELECT topic, partition, position, code FROM dead_letters WHERE"
        refused = [places(f"{letter} store = '{store}'") for store in ("graph", "search")]
        others = places(f"{letter} store IN ('vector', 'timeseries')")
        dead = places(f"{letter} kind = 'event'")
        known = set(connection.execute("SELECT kind, id FROM search_document").fetchall())
    found: Counter[str] = Counter()
    for record in records:
        place = (record.origin.topic, record.origin.partition, record.origin.offset)
        somewhere = any(place in store for store in (*held, *refused, others))
        if place in dead:
            found["written and dead" if somewhere else dead[place]] += 1
        elif not somewhere:
            found["duplicate" if _identity(record) in known else "lost"] += 1
        elif not all(place in a or place in b for a, b in zip(held, refused, strict=True)):
            found["half lost"] += 1
        else:
            codes = [store[place] for store in (*refused, others) if place in store]
            found[f"refused: {codes[0]}" if codes else "written"] += 1
    return found


def _identity(record: LogRecord) -> tuple[str, str] | None:
    """The event's kind and id; a duplicate has them, or it would not have been recognised."""
    try:
        value = json.loads(record.original.open()[2])
    except ValueError:
        return None
    event_id = value.get("eventId") if isinstance(value, dict) else None
    return (_KINDS[record.origin.topic], event_id.lower()) if isinstance(event_id, str) else None


def _text(properties: Mapping[str, Any]) -> str:
    return json.dumps(properties, sort_keys=True, ensure_ascii=False)


def _shorten(value: Any) -> Any:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
