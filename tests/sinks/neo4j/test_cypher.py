"""Every statement finds its nodes by an index: none scans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from neo4j import GraphDatabase

from deploy.local import addresses
from sinks.neo4j import cypher
from sinks.neo4j.model import INDEXED
from sinks.neo4j.store import Neo4jStore

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("neo4j")]
ENDS = ("Prompt", "HAS_TEXT", "Text")


def statements() -> Iterator[tuple[str, str]]:
    for name, value in sorted(vars(cypher).items()):
        if name.isupper() and name[0] != "_" and "$rows" in str(value):
            yield name, value
        elif hasattr(value, "cache_info"):
            arguments = ("Text",) if value.__wrapped__.__code__.co_argcount == 1 else ENDS
            yield name, value(*arguments)


def operators(plan: Any) -> list[str]:
    found = [plan["operatorType"].partition("@")[0]]
    return found + [each for child in plan.get("children", ()) for each in operators(child)]


@pytest.fixture
def explain(store: Neo4jStore, neo4j: addresses.Neo4j) -> Iterator[Any]:
    assert store.store_set()
    with GraphDatabase.driver(neo4j.uri) as driver, driver.session() as session:
        yield lambda text, **p: operators(session.run(f"EXPLAIN {text}", p).consume().plan)


def test_no_statement_of_a_transaction_scans(explain: Any) -> None:
    found = dict(statements())
    assert len(found) >= 18
    for name, text in found.items():
        plan = explain(text, rows=[])
        assert any("Seek" in operator for operator in plan), (name, plan)
        assert not [operator for operator in plan if "Scan" in operator], (name, plan)


def test_what_is_indexed_is_sought(explain: Any) -> None:
    for label in ("Prompt", "Response"):
        for name in INDEXED:
            plan = explain(f"MATCH (n:{label}) WHERE n.{name} = $v RETURN n ORDER BY n.key", v="x")
            assert any("IndexSeek" in operator for operator in plan), (label, name, plan)
        plan = explain(
            f"MATCH (n:{label}) WHERE n.key > $v RETURN n ORDER BY n.key LIMIT 10", v="x"
        )
        assert any("IndexSeekByRange" in operator for operator in plan), plan
        assert "Sort" not in plan
