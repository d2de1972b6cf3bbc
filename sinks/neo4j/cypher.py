"""The statements. Labels and types come from :mod:`sinks.neo4j.model`, all else is a parameter.

A ``WITH`` stands between the nodes and the edges of a pattern, so that edges are found from their
node: with the statistics of a young database the planner may prefer to read all of them. A
statement that reads what it decides by first takes the node's write lock, by setting a property:
Neo4j locks for direct dependencies inside one SET only.
"""

from __future__ import annotations

from functools import cache

from sinks.neo4j.model import RECORD, STORE, SWEPT, TOMBSTONE

COUNT_MARKS = f"MATCH (s:{STORE}) RETURN count(s) AS marks"
READ_VERSIONS = f"""
UNWIND $rows AS row
MATCH (r:{RECORD} {{key: row.key}})
RETURN row.key AS key, r.version AS version, r:{TOMBSTONE} AS erased
"""
LOCK_RECORDS = f"""
UNWIND $rows AS row
MERGE (r:{RECORD} {{key: row.key}})
ON CREATE SET r = row
ON MATCH SET r._lock = true
WITH row, r WHERE r._lock
REMOVE r._lock
RETURN row.key AS key, r.version AS version, r.nodes AS nodes, r:{TOMBSTONE} AS erased
"""
READ_RECORDS = f"""
UNWIND $rows AS row
MATCH (r:{RECORD} {{key: row.key}})
SET r._lock = true
REMOVE r._lock
WITH r WHERE NOT r:{TOMBSTONE}
RETURN properties(r) AS stamp
"""
WRITE_RECORDS = f"""
UNWIND $rows AS row
MATCH (r:{RECORD} {{key: row.key}})
SET r = row
"""
ERASE_RECORDS = f"""
UNWIND $rows AS row
MATCH (r:{RECORD} {{key: row.key}})
SET r = {{key: row.key}}, r:{TOMBSTONE}
"""


@cache
def make_nodes(label: str) -> str:
    """Makes nodes that a record owns; answers, locked, those that were there."""
    return f"""
UNWIND $rows AS row
MERGE (n:`{label}` {{key: row.key}})
ON CREATE SET n = row.owned
ON MATCH SET n._lock = true
WITH row, n WHERE n._lock
RETURN row.key AS key
"""


@cache
def own_nodes(label: str) -> str:
    """Makes nodes that a record owns, or takes them over; answers those with registers."""
    return f"""
UNWIND $rows AS row
MERGE (n:`{label}` {{key: row.key}})
SET n._lock = true
WITH row, n, n._registers AS registers
SET n = row.owned
SET n._registers = registers
WITH row, registers WHERE registers IS NOT NULL OR row.registers IS NOT NULL
RETURN row.key AS key, registers
"""


@cache
def share_nodes(label: str) -> str:
    """Makes nodes if missing and locks them; answers those whose registers are other ones."""
    return f"""
UNWIND $rows AS row
MERGE (n:`{label}` {{key: row.key}})
ON CREATE SET n += row.shown, n._registers = row.registers
ON MATCH SET n._lock = true
WITH row, n WHERE n._lock
REMOVE n._lock
WITH row, n WHERE row.registers IS NOT NULL AND coalesce(n._registers, '') <> row.registers
RETURN row.key AS key, n._registers AS registers
"""


@cache
def touch_nodes(label: str) -> str:
    """Makes ends if missing and locks what could be swept. A hub with registers never is."""
    return f"""
UNWIND $rows AS row
MERGE (n:`{label}` {{key: row.key}})
WITH n WHERE n._registers IS NULL AND n._owner IS NULL
SET n._lock = true
REMOVE n._lock
"""


@cache
def set_registers(label: str) -> str:
    """Nodes that a record owns show its properties, not the registers."""
    return f"""
UNWIND $rows AS row
MATCH (n:`{label}` {{key: row.key}})
SET n += CASE WHEN n._owner IS NULL THEN row.shown ELSE {{}} END, n._registers = row.registers
"""


@cache
def disown_nodes(label: str) -> str:
    """Makes placeholders of nodes, if the owner is the given one; answers their registers."""
    return f"""
UNWIND $rows AS row
MATCH (n:`{label}` {{key: row.key}}) WHERE n._owner = row.owner
WITH n, n.key AS key, n._registers AS registers
SET n = {{key: key}}
SET n._registers = registers
WITH key, registers WHERE registers IS NOT NULL
RETURN key, registers
"""


_OWNED_EDGES = """
UNWIND $rows AS row
MATCH (n:`{}` {{key: row.key}}) WHERE n._owner = row.owner
WITH row, n
MATCH (n)-[e]->(t) WHERE e._owned
RETURN row.owner AS owner, row.key AS source, type(e) AS type, labels(t)[0] AS label,
  t.key AS target{}
"""


@cache
def owned_edges(label: str) -> str:
    """The edges that records own, from nodes of this label."""
    return _OWNED_EDGES.format(label, "")


@cache
def owned_contents(label: str) -> str:
    """The same with their properties."""
    return _OWNED_EDGES.format(label, ", properties(e) AS properties")


@cache
def make_edges(source: str, kind: str, target: str) -> str:
    """Edges from nodes that were made in this transaction: none can be there, and no lock on the
    target is needed to be sure of it."""
    return f"""
UNWIND $rows AS row
MATCH (s:`{source}` {{key: row.source}})
MATCH (t:`{target}` {{key: row.target}})
CREATE (s)-[e:`{kind}`]->(t)
SET e = row.edge
"""


@cache
def make_bare_edges(source: str, kind: str, target: str) -> str:
    """As :func:`make_edges`, of edges without properties: rows are the keys of both ends."""
    return f"""
UNWIND $rows AS row
MATCH (s:`{source}` {{key: row[0]}})
MATCH (t:`{target}` {{key: row[1]}})
CREATE (s)-[:`{kind}` {{_owned: true}}]->(t)
"""


@cache
def write_edges(source: str, kind: str, target: str) -> str:
    return f"""
UNWIND $rows AS row
MATCH (s:`{source}` {{key: row.source}})
MATCH (t:`{target}` {{key: row.target}})
MERGE (s)-[e:`{kind}`]->(t)
SET e = row.edge
"""


@cache
def share_edges(source: str, kind: str, target: str) -> str:
    """Adds edges; of one that is there with other properties, the greater JSON stays."""
    return f"""
UNWIND $rows AS row
MATCH (s:`{source}` {{key: row.source}})
MATCH (t:`{target}` {{key: row.target}})
MERGE (s)-[e:`{kind}`]->(t)
ON CREATE SET e = row.edge
WITH row, e WHERE e._owned IS NULL AND row.json > coalesce(e._json, '{{}}')
SET e = row.edge
"""


@cache
def drop_edges(source: str, kind: str, target: str) -> str:
    return f"""
UNWIND $rows AS row
MATCH (s:`{source}` {{key: row.source}})
MATCH (t:`{target}` {{key: row.target}})
WITH row, s, t
MATCH (s)-[e:`{kind}`]->(t) WHERE e._owned AND s._owner = row.owner
DELETE e
"""


@cache
def sweep(label: str) -> str:
    """Removes placeholders and content nodes that no edge holds."""
    bare = "" if label in SWEPT else "AND n._registers IS NULL "
    return f"""
UNWIND $rows AS row
MATCH (n:`{label}` {{key: row.key}})
WHERE n._owner IS NULL {bare}AND NOT EXISTS {{ (n)--() }}
DELETE n
"""


@cache
def owned_nodes(label: str) -> str:
    return f"""
UNWIND $rows AS row
MATCH (n:`{label}` {{key: row.key}}) WHERE n._owner = row.owner
RETURN row.owner AS owner, properties(n) AS properties
"""
