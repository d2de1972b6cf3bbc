"""Graph records as rows of parameters: pure, without a connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.log import Origin
from schemas.queries import Name
from schemas.records import GraphRecord, RecordId, Stamp
from sinks.common.graph_rows import EdgeRow, GraphRows, graph_rows, merged_edges, merged_registers
from sinks.common.registers import Registers, to_stored
from sinks.common.stamps import Refusal, encoded, from_json, record_id
from sinks.neo4j.model import LABELS, TYPES
from sinks.neo4j.values import OWNED, OWNER, shown, to_plain

Row = dict[str, Any]
Ends = tuple[str, str, str]
"""Label of the source, type, label of the target: what a statement over edges is made for."""
Triple = tuple[Name, str, Name]

BARE: Row = {OWNED: True}
"""An owned edge without properties."""

_LABELS, _TYPES = frozenset(LABELS), frozenset(TYPES)


class Prepared(NamedTuple):
    """One record. ``stamp``: the properties of its record node; ``owned``: those of its nodes."""

    key: str
    version: int
    stamp: Row
    owned: dict[Name, Row]
    checked: GraphRows


def record_key(identity: RecordId) -> str:
    return f"{identity.kind}/{identity.id}"


def prepare(record: GraphRecord, max_bytes: int) -> Prepared:
    """Raises Refusal, also for a label (``bad_label``) or a type (``bad_type``) we do not know."""
    checked = graph_rows(record, max_bytes)
    for label, _ in checked.names:
        if label not in _LABELS:
            raise Refusal("bad_label")
    for edge in record.edges:
        if edge.type not in _TYPES:
            raise Refusal("bad_type")
    key = record_key(record.stamp.record_id)
    owned = {
        (node.label, node.key): {"key": node.key, OWNER: key} | to_plain(node.properties)
        for node in record.nodes
        if node.properties is not None
    }
    stamp = stamp_properties(record.stamp, list(owned))
    return Prepared(key, record.stamp.version, stamp, owned, checked)


def stamp_properties(stamp: Stamp, owned: Sequence[Name]) -> Row:
    """The properties of a record node; ``nodes``: the names of the nodes it owns, as JSON."""
    origin = stamp.origin
    return {
        "key": record_key(stamp.record_id),
        "kind": stamp.kind,
        "id": stamp.id,
        "version": stamp.version,
        "time": stamp.time,
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "logTimestamp": origin.timestamp,
        "pipeline": stamp.pipeline,
        "tenant": stamp.tenant,
        "user": stamp.user,
        "sha256": stamp.sha256,
        "nodes": encoded(owned).decode(),
    }


def read_stamp(held: Row) -> Stamp:
    """The stamp in the properties of a record node."""
    origin = Origin(held["topic"], held["partition"], held["offset"], held["logTimestamp"])
    identity = record_id(held["kind"], held["id"])
    return Stamp(
        identity.kind,
        identity.id,
        held["version"],
        held["time"],
        origin,
        held["pipeline"],
        held.get("tenant"),
        held.get("user"),
        held["sha256"],
    )


class Plan(NamedTuple):
    """What the records of one transaction write, merged. ``names``: every node that is to exist."""

    names: set[Name]
    owned: dict[Name, Row]
    registers: dict[Name, Registers]
    owned_edges: dict[Triple, Row]
    shared_edges: dict[Triple, str]


def plan(admitted: Iterable[Prepared]) -> Plan:
    records = list(admitted)
    owned_edges: dict[Triple, Row] = {}
    for record in records:
        for triple, properties in merged_edges(record.checked.owned_edges).items():
            owned_edges[triple] = BARE | edge_properties(properties)
    shared: list[EdgeRow] = [edge for record in records for edge in record.checked.shared_edges]
    return Plan(
        {name for record in records for name in record.checked.names},
        {name: row for record in records for name, row in record.owned.items()},
        merged_registers(record.checked for record in records),
        owned_edges,
        merged_edges(shared),
    )


def edge_properties(properties: str) -> Row:
    return to_plain(from_json(properties)) if properties != "{}" else {}


def node_row(plan: Plan, name: Name) -> Row:
    """One node: its key, its registers as they are stored and as they are shown."""
    registers = plan.registers.get(name)
    if not registers:
        return {"key": name[1], "registers": None, "shown": {}}
    return {"key": name[1], "registers": to_stored(registers), "shown": shown(registers)}


def by_label(names: Iterable[Name]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for label, key in sorted(names):
        found[label].append(key)
    return found


def by_ends(triples: Iterable[Triple]) -> dict[Ends, list[Triple]]:
    """Edges by the statement that writes them, both sorted."""
    found: defaultdict[Ends, list[Triple]] = defaultdict(list)
    for triple in sorted(triples):
        source, kind, target = triple
        found[source[0], kind, target[0]].append(triple)
    return dict(sorted(found.items()))
