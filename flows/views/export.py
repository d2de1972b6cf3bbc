"""The whole graph: its hash, as GraphML, as JSON. Read in passes: call these in a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, BinaryIO
from xml.sax.saxutils import escape, quoteattr

import msgspec

from schemas.graphhash import graph_hash
from schemas.queries import GraphQueries


def hash_of(graph: GraphQueries) -> str:
    """The graph hash of docs/graph.md. Call it in a snapshot: it reads nodes and edges."""
    return graph_hash(
        ((n.label, n.key, n.properties) for n in graph.nodes()),
        ((e.type, e.source, e.target, e.properties) for e in graph.all_edges()),
    )


def write_json(graph: GraphQueries, out: BinaryIO) -> None:
    """One JSON object a line: ``{"node": …}`` or ``{"edge": …}``, sorted."""
    encode = msgspec.json.encode
    for node in graph.nodes():
        found = {"label": node.label, "key": node.key, "properties": node.properties}
        out.write(encode({"node": found}) + b"\n")
    for edge in graph.all_edges():
        found = {
            "type": edge.type,
            "source": edge.source,
            "target": edge.target,
            "properties": edge.properties,
        }
        out.write(encode({"edge": found}) + b"\n")


def write_graphml(graph: GraphQueries, out: BinaryIO) -> None:
    """GraphML (http://graphml.graphdrawing.org), streamed in three passes: names and types of the
    properties, nodes, edges. A list is one string of JSON."""
    node_types = _types(n.properties for n in graph.nodes())
    edge_types = _types(e.properties for e in graph.all_edges())
    write = _writer(out)
    write("<?xml version='1.0' encoding='utf-8'?>")
    write('<graphml xmlns="http://graphml.graphdrawing.org/xmlns">')
    keys = {("node", "label"): "string", ("edge", "type"): "string"}
    keys |= {("node", f"p_{name}"): kind for name, kind in node_types.items()}
    keys |= {("edge", f"p_{name}"): kind for name, kind in edge_types.items()}
    for (owner, name), kind in sorted(keys.items()):
        shown = quoteattr(name.removeprefix("p_"))
        write(
            f'<key id={quoteattr(f"{owner}_{name}")} for="{owner}" attr.name={shown} '
            f'attr.type="{kind}"/>'
        )
    write('<graph edgedefault="directed">')
    for node in graph.nodes():
        write(f"<node id={_attribute(f'{node.label}/{node.key}')}>")
        write(f'<data key="node_label">{_text(node.label)}</data>')
        _properties(write, "node", node.properties)
        write("</node>")
    for edge in graph.all_edges():
        source, target = _attribute("/".join(edge.source)), _attribute("/".join(edge.target))
        write(f"<edge source={source} target={target}>")
        write(f'<data key="edge_type">{_text(edge.type)}</data>')
        _properties(write, "edge", edge.properties)
        write("</edge>")
    write("</graph></graphml>")


def _writer(out: BinaryIO) -> Callable[[str], None]:
    def write(line: str) -> None:
        out.write(line.encode() + b"\n")

    return write


def _types(every: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The GraphML type of each property; ``string`` where values are of several types."""
    found: dict[str, str] = {}
    for properties in every:
        for name, value in properties.items():
            kind = _type(value)
            known = found.setdefault(name, kind)
            if known != kind:
                found[name] = "double" if {known, kind} == {"long", "double"} else "string"
    return found


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long"
    return "double" if isinstance(value, float) else "string"


def _properties(write: Callable[[str], None], owner: str, properties: dict[str, Any]) -> None:
    for name, value in sorted(properties.items()):
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        write(f"<data key={quoteattr(f'{owner}_p_{name}')}>{_text(shown)}</data>")


def _text(value: str) -> str:
    """XML text; characters that XML 1.0 cannot carry are replaced."""
    return (
        escape("".join(c if c in "\t\n\r" or c >= " " else "�" for c in value))
        .replace("\ufffe", "�")
        .replace("\uffff", "�")
    )


def _attribute(value: str) -> str:
    return quoteattr("".join(c if c >= " " else "�" for c in value))
