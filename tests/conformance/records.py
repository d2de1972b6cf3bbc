"""Records for every store: what they hold follows from a number, a version and one text."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from schemas.items import Kind, Screened
from schemas.log import Origin
from schemas.records import (
    DocumentRecord,
    EdgeWrite,
    GraphRecord,
    NodeWrite,
    PointRecord,
    Record,
    RecordId,
    Register,
    Stamp,
    Store,
    VectorRecord,
    compose,
    register_stamp,
)

DIMENSIONS = 384
HUGE = 20 << 20
LABELS: dict[Kind, str] = {"prompt": "Prompt", "response": "Response", "session": "ToolCall"}
START = 1_700_000_000_000_000


def identity(number: int, kind: Kind = "prompt") -> RecordId:
    return RecordId(kind, str(uuid.UUID(int=number, version=4)))


def stamp(number: int, version: int = 1, kind: Kind = "prompt", **changes: Any) -> Stamp:
    values: dict[str, Any] = {
        "kind": kind,
        "id": identity(number).id,
        "version": version,
        "time": START + 1_000 * number,
        "origin": Origin(f"llm.{kind}s.v1", number % 8, number, 1_700_000_000_000 + number),
        "pipeline": "1",
        "tenant": f"tenant-{number % 3}",
        "user": f"user-{number % 5}",
        "sha256": f"{number:032x}{version:032x}",
    }
    return Stamp(**(values | changes))


def record(
    store: Store, number: int, version: int = 1, kind: Kind = "prompt", text: str = "words"
) -> Record:
    """A good record; ``text`` stands wherever the store takes a text of the event."""
    return _MAKERS[store](stamp(number, version, kind), number, text)


def _graph(held: Stamp, number: int, text: str) -> GraphRecord:
    owned = (LABELS[held.kind], held.id)
    session, user = ("Session", f"s-{number % 4}"), ("User", compose("u", text))
    length = (number + held.version) % 6
    content = ("Text", compose(held.tenant, text, str(length)))
    at = register_stamp(held.time, held.id)
    return GraphRecord(
        held,
        (
            NodeWrite(
                *owned,
                properties={
                    "textHash": text,
                    "createdAt": held.time,
                    "userId": text,
                    "sessionId": session[1],
                    "version": held.version,
                    "score": 0.1 + number,
                    "whole": 2.0,
                    "large": (1 << 63) - 1,
                    "yes": True,
                    "tags": ("a", text),
                },
            ),
            NodeWrite(*content, registers=(Register("length", length, "min"),)),
            NodeWrite(
                *session,
                registers=(
                    Register("firstSeen", held.time, "min"),
                    Register("lastSeen", held.time, "max"),
                    Register("purpose", text, "latest", at),
                ),
            ),
            NodeWrite(*user, registers=(Register("id", text, "latest", at),)),
        ),
        (
            EdgeWrite("PART_OF", owned, session, owned=True),
            EdgeWrite("HAS_TEXT", owned, content, owned=True),
            EdgeWrite("RETRIEVED", owned, ("Document", compose("d", text)), {"score": 0.5}, True),
            EdgeWrite("STARTED_BY", session, user),
        ),
    )


def _vector(held: Stamp, number: int, text: str) -> VectorRecord:
    values = np.random.default_rng([number, held.version]).standard_normal(DIMENSIONS)
    unit = (values / np.linalg.norm(values)).astype("<f4")
    metadata = {"session": text, "time": held.time, "share": 0.25, "yes": False, "tags": (text,)}
    return VectorRecord(held, unit.tobytes(), "minilm", f"hash {text}", metadata)


def _point(held: Stamp, number: int, text: str) -> PointRecord:
    return PointRecord(
        held,
        held.time * 1_000 + number,
        {"tenant": held.tenant or "_", "model": text or "_", "status": "ok"},
        {
            "event_id": held.id,
            "session_id": text,
            "prompt_tokens": number,
            "latency_ms": 10 * number,
            "throughput": 0.1 + number,
            "cost_pico_usd": (1 << 62) + held.version,
            "cost_status": "priced",
            "checked": True,
        },
    )


def _document(held: Stamp, number: int, text: str) -> DocumentRecord:
    fields = {
        "session": text,
        "model": "gpt",
        "version": held.version,
        "score": 0.1 + number,
        "tags": ("a", text),
    }
    return DocumentRecord(held, Screened(f"document {number} {text}"), fields)


def bad(store: Store) -> dict[str, Record]:
    """Records that no store takes, by what is wrong with them."""
    good = record(store, 900)
    changed = msgspec.structs.replace
    found: dict[str, Record] = {
        "not an id": changed(good, stamp=changed(good.stamp, id="NOT-A-UUID")),
        "surrogate in the tenant": changed(good, stamp=changed(good.stamp, tenant="\ud800")),
    }
    return found | _BAD[store](good)


def _bad_graph(good: Any) -> dict[str, Record]:
    owned, *shared = good.nodes
    edge = good.edges[0]
    changed = msgspec.structs.replace

    def of(**properties: Any) -> Record:
        return changed(good, nodes=(changed(owned, properties=properties), *shared))

    return {
        "surrogate": of(textHash="\udfff"),
        "not a number": of(score=math.nan),
        "beyond 64 bits": of(large=1 << 63),
        "too large": of(textHash="x" * HUGE),
        "no key": changed(good, nodes=(*good.nodes, NodeWrite("User", ""))),
        "edge from elsewhere": changed(
            good, edges=(changed(edge, source=("Prompt", identity(901).id)),)
        ),
    }


def _bad_vector(good: Any) -> dict[str, Record]:
    changed = msgspec.structs.replace
    nothing = np.zeros(DIMENSIONS, dtype="<f4")
    return {
        "empty": changed(good, values=b""),
        "short": changed(good, values=good.values[:-4]),
        "cut": changed(good, values=good.values[:-1]),
        "no direction": changed(good, values=nothing.tobytes()),
        "not a number": changed(good, values=(nothing + np.float32(np.nan)).tobytes()),
        "infinite": changed(good, values=(nothing + np.float32(np.inf)).tobytes()),
        "surrogate": changed(good, metadata={"session": "\ud800"}),
        "too large": changed(good, metadata={"session": "x" * HUGE}),
    }


def _bad_point(good: Any) -> dict[str, Record]:
    changed = msgspec.structs.replace
    return {
        "empty tag": changed(good, tags=good.tags | {"model": ""}),
        "long tag": changed(good, tags=good.tags | {"model": "x" * 100_000}),
        "surrogate in a tag": changed(good, tags=good.tags | {"model": "\ud800"}),
        "not a number": changed(good, fields=good.fields | {"throughput": math.inf}),
        "beyond 64 bits": changed(good, fields=good.fields | {"cost_pico_usd": 1 << 63}),
        "count of text": changed(good, fields=good.fields | {"prompt_tokens": "7"}),
    }


def _bad_document(good: Any) -> dict[str, Record]:
    changed = msgspec.structs.replace
    return {
        "surrogate": changed(good, text="\ud800"),
        "surrogate in a field": changed(good, fields={"session": "\ud800"}),
        "not a number": changed(good, fields={"score": math.nan}),
        "too large": changed(good, text="x" * HUGE),
    }


_BAD: dict[Store, Callable[[Any], dict[str, Record]]] = {
    "graph": _bad_graph,
    "vector": _bad_vector,
    "timeseries": _bad_point,
    "search": _bad_document,
}
_MAKERS = {"graph": _graph, "vector": _vector, "timeseries": _point, "search": _document}


def content(written: Record) -> dict[str, object]:
    """What ``fetch`` answers for a record: the form that every store of its kind keeps to."""
    if isinstance(written, GraphRecord):
        nodes = [
            {"label": node.label, "key": node.key, "properties": _plain(node.properties)}
            for node in written.nodes
            if node.properties is not None
        ]
        edges = [
            {
                "type": edge.type,
                "source": list(edge.source),
                "target": list(edge.target),
                "properties": _plain(edge.properties),
            }
            for edge in written.edges
            if edge.owned
        ]
        return {
            "nodes": sorted(nodes, key=lambda node: (node["label"], node["key"])),
            "edges": sorted(edges, key=lambda edge: (edge["type"], edge["source"], edge["target"])),
        }
    if isinstance(written, VectorRecord):
        return {
            "values": np.frombuffer(written.values, dtype="<f4").tolist(),
            "model": written.model,
            "text_hash": written.text_hash,
            "metadata": _plain(written.metadata),
        }
    if isinstance(written, PointRecord):
        return {"time_ns": written.time_ns, "tags": written.tags, "fields": written.fields}
    return {"text": written.text, "fields": _plain(written.fields)}


def _plain(values: Any) -> dict[str, object]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in (values or {}).items()}
