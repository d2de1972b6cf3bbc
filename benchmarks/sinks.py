"""Records a second into each store, embedded and real, against its bare driver."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import bare
from benchmarks.corpus import Corpus
from benchmarks.records import BATCH, mutations, select
from deploy.local.server import serving
from flows.keys import load_keys
from flows.settings import Settings
from flows.stores import open_stores
from schemas.records import STORES, Record, Store

EVENTS = 6_000
CHARACTERS = 500
WARM = 2
"""Batches that are not counted: connections, plans, mappings, just-in-time compilers."""
SERVERS: dict[Store, str] = {
    "graph": "neo4j",
    "vector": "pinecone",
    "timeseries": "influxdb",
    "search": "elasticsearch",
}
_SECTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "neo4j": lambda at: {"uri": at.uri, "timeout_seconds": 60},
    "pinecone": lambda at: {"host": at.host, "api_key": at.api_key, "timeout_seconds": 60},
    "influxdb": lambda at: {"url": at.url, "org": at.org, "token": at.token, "timeout_seconds": 60},
    "elasticsearch": lambda at: {"urls": [at.url], "replicas": 0, "timeout_seconds": 60},
}
_BARE: dict[str, Callable[[Any], bare.Writer]] = {
    "neo4j": bare.neo4j,
    "pinecone": bare.pinecone,
    "influxdb": lambda at: bare.influxdb(at, "bare"),
    "elasticsearch": bare.elasticsearch,
}
Row = dict[str, float]


def measure(corpus: Corpus) -> dict[str, Any]:
    """Of each store, the same records in the same batches; a fresh server for each writer. Pinecone
    is the local contract fake: what it says of the ratio is how many requests are made."""
    batches = _batches(corpus.pieces(CHARACTERS, EVENTS))
    rows: dict[str, Row] = {}
    for store in STORES:
        rows[f"{store}: sqlite"] = _row(
            batches[store],
            lambda store=store: _sink(store, "sqlite"),
            _sqlite,  # type: ignore[misc]
        )
        kind = SERVERS[store]
        rows[f"{store}: {kind}"] = _row(
            batches[store],
            lambda store=store, kind=kind: _sink(store, kind),  # type: ignore[misc]
            lambda kind=kind: _bare(kind),  # type: ignore[misc]
        )
    return {"batch": BATCH, "events": EVENTS, "rows": rows}


def _row(
    batches: Sequence[Sequence[Record]],
    ours: Callable[[], Any],
    driver: Callable[[], Any],
) -> Row:
    found: Row = {}
    for name, opened in (("ours", ours), ("bare", driver)):
        with opened() as write:
            seconds = []
            for batch in batches:
                before = time.perf_counter()
                write(batch)
                seconds.append((time.perf_counter() - before) / len(batch))
            found[name] = round(1 / statistics.median(seconds[WARM:]))
    return found | {"ratio": round(found["ours"] / found["bare"], 2)}


def _batches(texts: list[str]) -> dict[Store, list[list[Record]]]:
    """What the pipeline makes of conversations, and made-up vectors."""
    found = mutations(texts)
    dice = np.random.default_rng(0)
    parts = [found[at : at + BATCH] for at in range(0, len(found), BATCH)]
    return {store: [select(store, part, dice) for part in parts] for store in STORES}


@contextmanager
def _sink(store: Store, kind: str) -> Iterator[bare.Writer]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        folder.chmod(0o711)
        sections: dict[str, Any] = {"worker": {"data": folder / "data"}, "backends": {store: kind}}
        if kind != "sqlite":
            server = stack.enter_context(serving(kind, folder / kind))
            sections[kind] = _SECTIONS[kind](server.address)
        settings = Settings(**sections)
        stores = stack.enter_context(open_stores(settings, load_keys(folder / "data")))
        for server in stores.servers.values():
            server.init()
        sink = stores.sinks[store]

        def write(records: Sequence[Record]) -> None:
            results = sink.write(records)
            failed = [r for r in results if r.status != "written"]
            if failed:
                raise RuntimeError(f"{store}: {len(failed)} not written: {failed[0]}")

        yield write


@contextmanager
def _bare(kind: str) -> Iterator[bare.Writer]:
    with TemporaryDirectory(prefix="bench-") as name:
        Path(name).chmod(0o711)
        with serving(kind, Path(name) / kind) as server:
            yield _BARE[kind](server.address)


@contextmanager
def _sqlite() -> Iterator[bare.Writer]:
    with TemporaryDirectory(prefix="bench-") as name:
        yield bare.sqlite(Path(name) / "bare.db")


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"| records/s, batches of {result['batch']}, one writer | ours | bare driver | of it |",
        "|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {row['ours']:,} | {row['bare']:,} | **{row['ratio']:.0%}** |")
    return "\n".join(lines)
