"""What happens inside one transaction: records written, erased, read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from neo4j import Transaction

from schemas.ports import Stored, Unavailable
from schemas.queries import Name
from schemas.records import RecordId
from sinks.common.registers import Registers, merge_stored, to_stored
from sinks.common.stamps import from_json, record_id
from sinks.neo4j import cypher
from sinks.neo4j.client import send
from sinks.neo4j.model import HUBS, SWEPT
from sinks.neo4j.rows import (
    BARE,
    Plan,
    Prepared,
    Row,
    Triple,
    by_ends,
    by_label,
    edge_properties,
    node_row,
    plan,
    read_stamp,
    record_key,
)
from sinks.neo4j.values import from_plain, shown


class Held(NamedTuple):
    """A record as it is stored. ``owned``: its nodes; ``edges``: those it owns."""

    key: str
    owned: list[Name]
    edges: list[Triple]


class Work:
    """One transaction; raises the driver's errors.

    A write is two of them. The first (:meth:`share`) merges the nodes that all records share, and
    is short, so that writers wait for each other only there; the second (:meth:`write`) writes what
    is a record's own. Between them nothing is wrong: what is shared comes from the event alone and
    only ever grows. Locks are taken in one order, records first, then nodes by label and key.
    """

    def __init__(self, transaction: Transaction, batch_rows: int) -> None:
        self._transaction = transaction
        self._batch_rows = batch_rows

    def share(self, records: Sequence[Prepared]) -> None:
        """Merges the hubs of those records that :meth:`write` is going to admit. Raises Unavailable
        (``not_ready``) as :meth:`erase`."""
        self._check_mark()
        found = self._send(cypher.READ_VERSIONS, _keys(r.key for r in records))
        wanted = plan(_admitted(records, found).values())
        edges = {edge: p for edge, p in wanted.shared_edges.items() if _between_hubs(edge)}
        ends = {end for source, _, target in edges for end in (source, target)}
        self._share_nodes(wanted, ends.union(n for n in wanted.registers if n[0] in HUBS))
        self._share_edges(edges)

    def write(self, records: Sequence[Prepared]) -> set[str]:
        """Writes what is admitted; answers the keys of records that are erased."""
        best = _admitted(records, ())
        found = self._send(cypher.LOCK_RECORDS, [best[key].stamp for key in sorted(best)])
        admitted = _admitted(records, found)
        if admitted:
            before = {row["key"]: row["nodes"] for row in found if row["key"] in admitted}
            self._replace(self._held(before), plan(admitted.values()))
            self._send(cypher.WRITE_RECORDS, [admitted[key].stamp for key in sorted(before)])
        return {row["key"] for row in found if row["erased"]}

    def erase(self, keys: Iterable[str]) -> None:
        """Removes records and leaves tombstones. Raises Unavailable (``not_ready``) in a database
        that was not made ready: without constraints nodes would be made twice."""
        self._check_mark()
        sent = _keys(keys)
        found = self._send(cypher.LOCK_RECORDS, sent)
        before = {row["key"]: row["nodes"] for row in found if row["nodes"] is not None}
        if before:
            self._replace(self._held(before), plan(()))
        self._send(cypher.ERASE_RECORDS, sent)

    def fetch(self, ids: Iterable[RecordId]) -> dict[RecordId, Stored]:
        """Locks the records, so that no writer is half way through one of them."""
        sent = _keys(record_key(identity) for identity in ids)
        stamps = [row["stamp"] for row in self._send(cypher.READ_RECORDS, sent)]
        rows = _owner_rows({stamp["key"]: stamp["nodes"] for stamp in stamps})
        nodes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        edges: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for label, owners in rows.items():
            for row in self._send(cypher.owned_nodes(label), owners):
                properties = row["properties"]
                nodes[row["owner"]].append(
                    {
                        "label": label,
                        "key": properties["key"],
                        "properties": from_plain(properties),
                    }
                )
            for row in self._send(cypher.owned_contents(label), owners):
                edges[row["owner"]].append(
                    {
                        "type": row["type"],
                        "source": [label, row["source"]],
                        "target": [row["label"], row["target"]],
                        "properties": from_plain(row["properties"]),
                    }
                )
        found = {}
        for held in stamps:
            content: dict[str, object] = {
                "nodes": sorted(nodes[held["key"]], key=lambda n: (n["label"], n["key"])),
                "edges": sorted(
                    edges[held["key"]], key=lambda e: (e["type"], e["source"], e["target"])
                ),
            }
            found[record_id(held["kind"], held["id"])] = Stored(read_stamp(held), content)
        return found

    def _check_mark(self) -> None:
        """The server keeps the count: this costs a round trip."""
        (row,) = self._transaction.run(cypher.COUNT_MARKS)
        if not row["marks"]:
            raise Unavailable("graph", "not_ready")

    def _replace(self, before: Sequence[Held], plan: Plan) -> None:
        """Replaces what the records before owned by what the plan brings."""
        dropped = {
            edge: held.key for held in before for edge in held.edges if edge not in plan.owned_edges
        }
        disowned = {
            name: held.key for held in before for name in held.owned if name not in plan.owned
        }
        loose = {end for source, _, target in dropped for end in (source, target)}
        loose.update(disowned)
        known = {name for held in before for name in held.owned}
        made = self._merge_nodes(plan, known, loose)
        for ends, triples in by_ends(dropped).items():
            self._send(
                cypher.drop_edges(*ends),
                [_edge_row(triple, owner=dropped[triple]) for triple in triples],
            )
        self._disown(disowned)
        for ends, triples in by_ends(plan.owned_edges).items():
            bare: list[list[str]] = []
            new: list[Row] = []
            old: list[Row] = []
            for triple in triples:
                edge = plan.owned_edges[triple]
                if triple[0] not in made:
                    old.append(_edge_row(triple, edge=edge))
                elif edge == BARE:
                    bare.append([triple[0][1], triple[2][1]])
                else:
                    new.append(_edge_row(triple, edge=edge))
            self._send(cypher.make_bare_edges(*ends), bare)
            self._send(cypher.make_edges(*ends), new)
            self._send(cypher.write_edges(*ends), old)
        self._share_edges(
            {edge: p for edge, p in plan.shared_edges.items() if not _between_hubs(edge)}
        )
        for label, keys in by_label(loose).items():
            self._send(cypher.sweep(label), [{"key": key} for key in keys])

    def _merge_nodes(self, plan: Plan, known: set[Name], loose: set[Name]) -> set[Name]:
        """Makes, takes over and locks nodes, label by label; answers those owned that it made."""
        made: set[Name] = set()
        for label, keys in by_label(plan.names | loose).items():
            names = [(label, key) for key in keys]
            owned = [name for name in names if name in plan.owned]
            new = [name for name in owned if name not in known]
            there = {
                (label, row["key"])
                for row in self._send(
                    cypher.make_nodes(label),
                    [{"key": name[1], "owned": plan.owned[name]} for name in new],
                )
            }
            made.update(name for name in new if name not in there)
            taken = [name for name in owned if name not in made]
            rows = [node_row(plan, name) | {"owned": plan.owned[name]} for name in taken]
            found = self._send(cypher.own_nodes(label), rows)
            with_registers = [name for name in made if name in plan.registers]
            found += [{"key": key, "registers": None} for _, key in with_registers]
            self._merge_registers(label, plan.registers, found)
            shared = [name for name in names if name not in plan.owned]
            if label in SWEPT:
                self._share_nodes(plan, shared)
            else:
                apart = label not in HUBS
                self._share_nodes(plan, [n for n in shared if apart and n in plan.registers])
                ends = [{"key": n[1]} for n in shared if not (apart and n in plan.registers)]
                self._send(cypher.touch_nodes(label), ends)
        return made

    def _share_nodes(self, plan: Plan, names: Iterable[Name]) -> None:
        for label, keys in by_label(names).items():
            rows = [node_row(plan, (label, key)) for key in keys]
            found = self._send(cypher.share_nodes(label), rows)
            self._merge_registers(label, plan.registers, found)

    def _share_edges(self, edges: Mapping[Triple, str]) -> None:
        for ends, triples in by_ends(edges).items():
            rows = [_shared_row(triple, edges[triple]) for triple in triples]
            self._send(cypher.share_edges(*ends), rows)

    def _held(self, records: Mapping[str, str]) -> list[Held]:
        """What the records own now. Their own locks are held, so that it stays so."""
        found = {key: Held(key, _names(nodes), []) for key, nodes in records.items()}
        for label, owners in _owner_rows(records).items():
            for row in self._send(cypher.owned_edges(label), owners):
                source, target = (label, row["source"]), (row["label"], row["target"])
                found[row["owner"]].edges.append((source, row["type"], target))
        return list(found.values())

    def _merge_registers(
        self, label: str, registers: Mapping[Name, Registers], found: Iterable[Row]
    ) -> None:
        changed = []
        for row in found:
            merged = registers.get((label, row["key"]), {})
            merge_stored(merged, row["registers"])
            after = to_stored(merged)
            if after != row["registers"]:
                changed.append({"key": row["key"], "registers": after, "shown": shown(merged)})
        if changed:
            self._send(cypher.set_registers(label), changed)

    def _disown(self, owners: Mapping[Name, str]) -> None:
        for label, keys in by_label(owners).items():
            sent = [{"key": key, "owner": owners[label, key]} for key in keys]
            found = self._send(cypher.disown_nodes(label), sent)
            if found:
                rows = []
                for row in found:
                    merged: Registers = {}
                    merge_stored(merged, row["registers"])
                    rows.append(row | {"shown": shown(merged)})
                self._send(cypher.set_registers(label), rows)

    def _send(self, text: str, rows: Sequence[Row] | Sequence[list[str]]) -> list[Row]:
        return send(self._transaction, text, rows, self._batch_rows)


def _admitted(records: Sequence[Prepared], found: Iterable[Row]) -> dict[str, Prepared]:
    """Of each key, the highest version that is not lower than the one found and not erased."""
    versions = {row["key"]: row["version"] for row in found}
    erased = {row["key"] for row in found if row["erased"]}
    admitted: dict[str, Prepared] = {}
    for record in records:
        if record.key not in erased and record.version >= versions.get(record.key, record.version):
            versions[record.key] = record.version
            admitted[record.key] = record
    return admitted


def _between_hubs(triple: Triple) -> bool:
    return triple[0][0] in HUBS and triple[2][0] in HUBS


def _keys(keys: Iterable[str]) -> list[Row]:
    return [{"key": key} for key in sorted(set(keys))]


def _names(nodes: str) -> list[Name]:
    found: Any = from_json(nodes)
    return [(label, key) for label, key in found]


def _owner_rows(records: Mapping[str, str]) -> dict[str, list[Row]]:
    """Rows of key and owner, by label, for the nodes that records own."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for owner, nodes in sorted(records.items()):
        for label, key in _names(nodes):
            found[label].append({"key": key, "owner": owner})
    return dict(sorted(found.items()))


def _edge_row(triple: Triple, **more: object) -> Row:
    return {"source": triple[0][1], "target": triple[2][1], **more}


def _shared_row(triple: Triple, properties: str) -> Row:
    edge = edge_properties(properties)
    if edge:
        edge["_json"] = properties
    return _edge_row(triple, edge=edge, json=properties)
