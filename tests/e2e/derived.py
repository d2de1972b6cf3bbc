"""A data folder against what the reference derives from the log, event by event."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any

from flows.filelog import log_ends
from flows.keys import load_keys
from flows.settings import Settings
from flows.stores import Stores, open_stores
from schemas.log import LogRecord, Original
from stages.embed.encoder import Encoder
from stages.lookup import open_registry
from stages.pii.detect import NameDetector, PatternDetector
from tests.e2e.columns import check_columns
from tests.faults.contents import Contents, assert_same, contents
from tests.reference import Expected, Setup, derive, read_users

Place = tuple[str, int, int]


def setup_of(settings: Settings) -> Setup:
    """What the reference needs to know of a worker with these settings."""
    keys, detect = load_keys(settings.data), settings.pii.detect
    validate, users = settings.validate_, settings.lookup.users
    return Setup(
        patterns=PatternDetector(detect),
        names=NameDetector(settings=detect) if detect.names else None,
        registry=open_registry(settings.lookup),
        users=() if users is None else read_users(users),
        pseudonym_key=keys.pseudonyms,
        image_key=keys.images,
        pii=settings.pii,
        embeds=settings.embed.mode == "inline",
        orphan_after_ms=settings.lookup.orphan_after_ms,
        ahead_ms=validate.ahead_seconds * 1000,
        behind_ms=validate.behind_seconds * 1000,
        max_bytes=validate.max_bytes,
        max_depth=validate.max_depth,
    )


class Derived:
    """What the reference derives from the records of a log, for a worker with these settings."""

    def __init__(self, records: Sequence[LogRecord], settings: Settings) -> None:
        self.records = records
        self.expected = derive(records, setup_of(settings))
        self._wanted = _wanted(self.expected, records, settings)

    def check(self, settings: Settings) -> None:
        """Every store, the dead letters and the offsets of a folder that no worker is using hold
        what follows from the records, and nothing else."""
        stored = contents(settings.database_path)
        found = Contents(stored.graph, _projected(stored))
        found.tables["parked"] = stored.tables["parked"]
        found.tables["dead letters"] = _letters(settings, self.expected)
        assert_same(self._wanted, found)
        _check_origins(settings, self.records, self.expected)
        with _opened_stores(settings) as stores:
            committed = {p: x.offset for p, x in stores.offsets.load().items()}
        assert committed == log_ends(settings.log_dir)


def _opened_stores(settings: Settings) -> AbstractContextManager[Stores]:
    return open_stores(settings, load_keys(settings.data))


def _wanted(expected: Expected, records: Iterable[LogRecord], settings: Settings) -> Contents:
    """As :func:`_projected` reads it."""
    graph: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    graph |= {("node", *node): (_json(p),) for node, p in expected.nodes.items()}
    graph |= {("edge", t, *s, *e): (_json(p),) for (t, s, e), p in expected.edges.items()}
    fields = {me: document["fields"] for me, document in expected.documents.items()}
    who = {me: (f.get("tenant"), f.get("user")) for me, f in fields.items()}
    vectors = _vectors([v["text"] for v in expected.vectors.values()], settings)
    model = Encoder.model
    originals = {_place(r): r.original for r in records}
    tables: dict[str, Any] = {
        "graph": graph,
        "vectors": {
            me: (*who[me], model, v["text_hash"], _json(v["metadata"]), vectors[v["text"]])
            for me, v in expected.vectors.items()
        },
        "points": {
            me: (*who[me], p["time_ns"], _json(p["tags"]), _json(p["fields"]))
            for me, p in expected.points.items()
        },
        "documents": {
            me: (
                *who[me],
                f.get("session"),
                f.get("model"),
                _json(f),
                expected.documents[me]["text"],
            )
            for me, f in fields.items()
        },
        "dead letters": {p: ("a code that fits", *_opened(originals[p])) for p in expected.dead},
        "parked": {},
    }
    return Contents(expected.graph_hash(), tables)


def _projected(stored: Contents) -> dict[str, Any]:
    """Without the stamps' hashes, which the reference does not derive; JSON in one form."""
    tables = stored.tables
    return {
        "graph": tables["graph"],
        "vectors": {
            me: (*row[1:5], _json(json.loads(row[5])), row[6])
            for me, row in tables["vectors"].items()
        },
        "points": {
            me: (*row[1:4], *(_json(json.loads(text)) for text in row[4:]))
            for me, row in tables["points"].items()
        },
        "documents": {
            me: (*row[1:5], _json(json.loads(row[5])), row[6])
            for me, row in tables["documents"].items()
        },
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _vectors(texts: Iterable[str], settings: Settings) -> dict[str, str]:
    """SHA-256 of the bytes that the encoder makes of each text."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    found = Encoder(settings.embed).embed(distinct)
    return {t: hashlib.sha256(v).hexdigest() for t, v in zip(distinct, found, strict=True)}


def _letters(settings: Settings, expected: Expected) -> dict[Place, tuple[Any, ...]]:
    """What each open letter says and holds, by the coordinates of its record."""
    found: dict[Place, tuple[Any, ...]] = {}
    with _opened_stores(settings) as stores:
        assert stores.letters.count(resolved=True) == 0
        letters = stores.letters.list(limit=1_000_000)
        for letter in letters:
            origin = letter.origin
            place = (origin.topic, origin.partition, origin.offset)
            code = letter.code
            if code in expected.dead.get(place, ()):
                code = "a code that fits"
            original = stores.letters.open(letter.sequence)
            assert isinstance(original, Original)
            found[place] = (code, *_opened(original))
        assert len(found) == len(letters)
    return found


def _opened(original: Original) -> tuple[Any, ...]:
    key, headers, value = original.open()
    return key, headers, value


def _check_origins(settings: Settings, records: Sequence[LogRecord], expected: Expected) -> None:
    """Every record of the log is exactly one of: the origin of what is stored, another copy of it,
    a dead letter; all stores name the same origin."""
    log = {_place(r): r.origin.timestamp for r in records}
    columns = 'kind, id, topic, "partition", "offset", log_timestamp'
    tables = ("graph_record", "search_document", "timeseries_point", "vector_record")
    with closing(sqlite3.connect(settings.database_path)) as connection:
        origins = [
            {row[:2]: row[2:] for row in connection.execute(f"SELECT {columns} FROM {table}")}
            for table in tables
        ]
        check_columns(connection)
    graph, *others = origins
    assert not graph.keys() ^ expected.copies.keys()
    for store in others:
        assert store.items() <= graph.items()
    places = {row[:3] for row in graph.values()}
    assert len(places) == len(graph)
    for me, (*place, timestamp) in graph.items():
        assert tuple(place) in expected.copies[me]
        assert log[tuple(place)] == timestamp
    copies = {place for me in expected.copies for place in expected.copies[me]}
    assert sum(map(len, expected.copies.values())) == len(copies)
    assert not copies & expected.dead.keys()
    assert not (copies | expected.dead.keys()) ^ log.keys()


def _place(record: LogRecord) -> Place:
    return record.origin.topic, record.origin.partition, record.origin.offset
