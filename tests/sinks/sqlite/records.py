"""Small records to park and to refuse."""

from __future__ import annotations

from schemas.items import Screened
from schemas.log import Origin
from schemas.records import (
    DocumentRecord,
    EdgeWrite,
    GraphRecord,
    NodeWrite,
    PointRecord,
    Record,
    Register,
    Stamp,
    Store,
    VectorRecord,
)

ORIGIN = Origin("llm.prompts.v1", 2, 40, 1_700_000_000_000)


def stamp(id_: str, version: int) -> Stamp:
    return Stamp("prompt", id_, version, 5, ORIGIN, "p1", "acme", "ada", "00" * 32)


def record(store: Store, id_: str = "a", version: int = 1) -> Record:
    made = stamp(id_, version)
    if store == "graph":
        nodes = (
            NodeWrite("Prompt", id_, {"a": 1, "b": 1.0, "c": None, "d": True, "e": ("x", "y")}),
            NodeWrite("User", "u", registers=(Register("first", 5, "min"),)),
        )
        edges = (EdgeWrite("PART_OF", ("Prompt", id_), ("Session", "s"), {"w": 0.5}, True),)
        return GraphRecord(made, nodes, edges)
    if store == "vector":
        return VectorRecord(made, b"\0\1" * 8, "minilm", "h", {"tenant": "acme"})
    if store == "timeseries":
        return PointRecord(
            made, 1_700_000_000_000_000_123, {"m": "x"}, {"n": 1, "f": 1.0, "b": True}
        )
    return DocumentRecord(made, Screened("a text"), {"model": "m"})
