"""A write that is taken back, so that the server has planned and compiled what writes need.

A server that has just started takes seconds for the first of each statement: together more than a
delivery waits for.
"""

from __future__ import annotations

import uuid

from neo4j import Transaction

from schemas.items import Kind
from schemas.log import Origin
from schemas.records import EdgeWrite, GraphRecord, NodeWrite, Register, Stamp, Value
from sinks.neo4j.client import Client
from sinks.neo4j.rows import prepare, record_key
from sinks.neo4j.transaction import Work

_MOST_BYTES = 1 << 20
_REGISTERS = (Register("id", "rehearsal", "latest", "0"), Register("firstSeen", 0, "min"))


def rehearse(client: Client, batch_rows: int) -> None:
    """Writes, completes, reads and erases records of nobody, and takes it back. Raises Unavailable.

    In several transactions, as writes are: the first statement of one is planned apart.
    """
    id_ = str(uuid.uuid4())
    first = [_prompt(id_, 1), _response(id_, 1)]
    later = [_prompt(id_, 2, text=f"{id_}/later"), _response(id_, 2, text=f"{id_}/later")]
    batches = [[prepare(record, _MOST_BYTES) for record in batch] for batch in (first, later)]
    ids = [record.stamp.record_id for record in first]

    def share(transaction: Transaction) -> None:
        Work(transaction, batch_rows).share(batches[0])

    def write(transaction: Transaction) -> None:
        done = Work(transaction, batch_rows)
        for batch in batches:
            done.write(batch)
            done.share(batch)
        done.fetch(ids)
        done.erase([record_key(identity) for identity in ids])

    client.run(share, commit=False)
    client.run(write, commit=False)


def _prompt(id_: str, version: int, text: str | None = None) -> GraphRecord:
    """All that a prompt may write. With another text, the one before is loose."""
    own, key = ("Prompt", id_), text or id_
    shared = [("Session", id_), ("User", id_), ("Application", id_), ("Tenant", id_)]
    shared += [("Model", id_), ("Model", f"{id_}/entry")]
    shared += [("Template", key), ("Text", key), ("Text", f"{key}/last"), ("Document", key)]
    edges = (
        _owned("PART_OF", own, ("Session", id_)),
        _owned("USES_MODEL", own, ("Model", id_)),
        _owned("INSTANTIATES", own, ("Template", key)),
        _owned("HAS_TEXT", own, ("Text", key)),
        _owned("AFTER", own, ("Text", f"{key}/last"), {"role": "user"}),
        _owned("RETRIEVED", own, ("Document", key), {"score": 0.5}),
        EdgeWrite("STARTED_BY", ("Session", id_), ("User", id_)),
        EdgeWrite("IN", ("Session", id_), ("Application", id_)),
        EdgeWrite("MEMBER_OF", ("User", id_), ("Tenant", id_)),
        EdgeWrite("ALIAS_OF", ("Model", id_), ("Model", f"{id_}/entry")),
    )
    nodes = [NodeWrite(*name, None, _REGISTERS) for name in shared]
    return GraphRecord(_stamp("prompt", id_, version), (_node(own, key), *nodes), edges)


def _response(id_: str, version: int, text: str | None = None) -> GraphRecord:
    """All that a response may write beside that."""
    own, tool, key = ("Response", id_), ("ToolCall", f"{id_}/0"), text or id_
    edges = (
        _owned("RESPONDS_TO", own, ("Prompt", id_)),
        _owned("USES_MODEL", own, ("Model", id_)),
        _owned("INVOKES", own, tool),
        _owned("HAS_TEXT", own, ("Text", key)),
    )
    nodes = (_node(own, key), _node(tool, key), NodeWrite("Text", key, None, _REGISTERS))
    return GraphRecord(_stamp("response", id_, version), nodes, edges)


def _node(name: tuple[str, str], text: str) -> NodeWrite:
    return NodeWrite(*name, {"createdAt": 0, "textHash": text})


def _owned(
    kind: str,
    source: tuple[str, str],
    target: tuple[str, str],
    properties: dict[str, Value] | None = None,
) -> EdgeWrite:
    return EdgeWrite(kind, source, target, properties or {}, owned=True)


def _stamp(kind: Kind, id_: str, version: int) -> Stamp:
    return Stamp(kind, id_, version, 0, Origin("rehearsal", 0, 0, 0), "", None, None, "")
