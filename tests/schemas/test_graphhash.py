from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from schemas.graphhash import graph_hash

NODES = [
    ("Text", "acme/é", {"length": 3, "hash": "ab"}),
    ("Prompt", "p", {}),
    ("A", "x", {"f": 1.0}),
]
EDGES = [("AFTER", ("Prompt", "p"), ("Text", "acme/é"), {"role": "user"})]


def test_the_format_is_as_documented() -> None:
    lines = (
        '["edge","AFTER","Prompt","p","Text","acme/é",{"role":"user"}]\n'
        '["node","A","x",{"f":1.0}]\n'
        '["node","Prompt","p",{}]\n'
        '["node","Text","acme/é",{"hash":"ab","length":3}]\n'
    )
    assert graph_hash(NODES, EDGES) == hashlib.sha256(lines.encode()).hexdigest()


def test_an_absent_value_is_no_value() -> None:
    assert graph_hash([("A", "x", {"f": None})], []) == graph_hash([("A", "x", {})], [])


def test_lists_and_tuples_are_alike() -> None:
    assert graph_hash([("A", "x", {"f": ["a"]})], []) == graph_hash([("A", "x", {"f": ("a",)})], [])


@given(st.permutations(NODES))
def test_order_does_not_matter(nodes: list[tuple[str, str, dict[str, object]]]) -> None:
    assert graph_hash(nodes, EDGES) == graph_hash(NODES, EDGES)


@given(st.integers(0, 2), st.text(max_size=3))
def test_every_change_shows(place: int, value: str) -> None:
    changed = [*NODES]
    label, key, properties = changed[place]
    changed[place] = (label, key, {**properties, "new": value})
    assert graph_hash(changed, EDGES) != graph_hash(NODES, EDGES)
