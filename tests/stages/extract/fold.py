"""A graph store in dictionaries: what docs/graph.md says about versions, registers and edges."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from schemas.graphhash import EdgeItem, NodeItem, graph_hash
from schemas.records import EdgeWrite, GraphRecord, Mutation, RecordId, Register

Node = tuple[str, str]
Edge = tuple[str, Node, Node]

SWEPT = frozenset({"Text", "Template", "Document"})


class Fold:
    """Folds graph records in the order in which they come."""

    def __init__(self) -> None:
        self.versions: dict[RecordId, int] = {}
        self.owned_nodes: dict[Node, tuple[RecordId, dict[str, Any]]] = {}
        self.owned_edges: dict[Edge, tuple[RecordId, dict[str, Any]]] = {}
        self.shared_edges: dict[Edge, dict[str, Any]] = {}
        self.registers: dict[Node, dict[str, Register]] = {}

    def add(self, record: GraphRecord) -> None:
        me = record.stamp.record_id
        if record.stamp.version < self.versions.get(me, 0):
            return
        self.versions[me] = record.stamp.version
        self.owned_nodes = {k: v for k, v in self.owned_nodes.items() if v[0] != me}
        self.owned_edges = {k: v for k, v in self.owned_edges.items() if v[0] != me}
        for node in record.nodes:
            name = (node.label, node.key)
            if node.properties is not None:
                self.owned_nodes[name] = (me, node.properties)
            else:
                self.registers.setdefault(name, {})
            for register in node.registers:
                self._merge(name, register)
        for edge in record.edges:
            self._edge(me, edge)
        self._sweep()

    def _merge(self, name: Node, new: Register) -> None:
        held = self.registers.setdefault(name, {})
        old = held.get(new.name)
        if old is None or _rank(new) > _rank(old):
            held[new.name] = new

    def _edge(self, me: RecordId, edge: EdgeWrite) -> None:
        place = (edge.type, edge.source, edge.target)
        if edge.owned:
            assert self.owned_nodes[edge.source][0] == me
            assert place not in self.owned_edges, "an edge is named twice"
            self.owned_edges[place] = (me, edge.properties)
        else:
            self.shared_edges[place] = edge.properties

    def _sweep(self) -> None:
        held = {end for _, *ends in (*self.owned_edges, *self.shared_edges) for end in ends}
        for name in [n for n in self.registers if n[0] in SWEPT and n not in held]:
            del self.registers[name]

    def nodes(self) -> dict[Node, dict[str, Any]]:
        """Placeholders are ends that nobody described: without properties."""
        ends = [end for _, *ends in (*self.owned_edges, *self.shared_edges) for end in ends]
        found: dict[Node, dict[str, Any]] = {end: {} for end in ends}
        for name, registers in self.registers.items():
            found[name] = {register.name: register.value for register in registers.values()}
        for name, (_, properties) in self.owned_nodes.items():
            found[name] = properties
        return found

    def edges(self) -> dict[Edge, dict[str, Any]]:
        owned = {edge: properties for edge, (_, properties) in self.owned_edges.items()}
        return {**self.shared_edges, **owned}

    def hash(self) -> str:
        nodes: Iterable[NodeItem] = ((*name, values) for name, values in self.nodes().items())
        edges: Iterable[EdgeItem] = ((*edge, values) for edge, values in self.edges().items())
        return graph_hash(nodes, edges)


def _rank(register: Register) -> Any:
    """The greatest wins; equal ones are told apart by their value, as JSON."""
    text = json.dumps(register.value, sort_keys=True)
    if register.mode == "latest":
        return register.at, text
    assert isinstance(register.value, int | float)
    return -register.value if register.mode == "min" else register.value


class Stores:
    """All four stores; a record of a lower version never replaces one of a higher."""

    def __init__(self) -> None:
        self.graph = Fold()
        self.others: dict[tuple[str, RecordId], Any] = {}

    def add(self, mutation: Mutation) -> None:
        self.graph.add(mutation.graph)
        for record in (mutation.vector, mutation.point, mutation.document):
            if record is None:
                continue
            place = (type(record).__name__, record.stamp.record_id)
            held = self.others.get(place)
            if held is None or held.stamp.version <= record.stamp.version:
                self.others[place] = record

    def content(self) -> dict[str, Any]:
        """Everything but versions: how many facts there were depends on the order."""
        found = {}
        for (store, id_), record in self.others.items():
            found[f"{store} {id_.kind} {id_.id}"] = [
                getattr(record, field) for field in record.__struct_fields__ if field != "stamp"
            ] + [record.stamp.sha256, record.stamp.origin]
        return found
