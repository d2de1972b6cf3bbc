"""One hash for a whole graph, whatever store it lies in and whatever order it was written in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

Properties = Mapping[str, object]
NodeItem = tuple[str, str, Properties]
"""Label, key, properties (registers included); a placeholder has none."""
EdgeItem = tuple[str, tuple[str, str], tuple[str, str], Properties]
"""Type, source (label, key), target (label, key), properties."""

_JSON = msgspec.json.Encoder(order="sorted")


def graph_hash(nodes: Iterable[NodeItem], edges: Iterable[EdgeItem]) -> str:
    """SHA-256 (hex) over the canonical JSON lines of all nodes and edges, sorted by their bytes.

    Any order of the arguments gives the same hash. Properties that are None count as absent.
    The format is in ``docs/graph.md``, *Graph hash*.
    """
    lines = [_JSON.encode(("node", label, key, _present(values))) for label, key, values in nodes]
    lines += [
        _JSON.encode(("edge", kind, *source, *target, _present(values)))
        for kind, source, target, values in edges
    ]
    lines.sort()
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
        digest.update(b"\n")
    return digest.hexdigest()


def _present(values: Properties) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
