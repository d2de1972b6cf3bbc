"""What the database holds besides data: labels, relationship types, constraints and indexes.

Only names from the tables here ever stand in Cypher text; all else is a parameter.
"""

from __future__ import annotations

LABELS = (
    "Application",
    "Document",
    "Model",
    "Prompt",
    "Response",
    "Session",
    "Template",
    "Tenant",
    "Text",
    "ToolCall",
    "User",
)
"""Labels of ``docs/graph.md``, sorted. Each node has one, and a ``key`` that is unique in it."""

TYPES = (
    "AFTER",
    "ALIAS_OF",
    "HAS_TEXT",
    "IN",
    "INSTANTIATES",
    "INVOKES",
    "MEMBER_OF",
    "PART_OF",
    "RESPONDS_TO",
    "RETRIEVED",
    "STARTED_BY",
    "USES_MODEL",
)
"""Relationship types of ``docs/graph.md``, sorted."""

SWEPT = frozenset({"Document", "Template", "Text"})
"""Labels of nodes that mean nothing once no edge holds them."""

HUBS = frozenset({"Application", "Model", "Session", "Tenant", "User"})
"""Labels of nodes that many records share, and that nothing removes once they have registers."""

RECORD = "Record"
"""One node for each record: its stamp and the names of the nodes it owns. Not part of the graph."""

TOMBSTONE = "Tombstone"
"""Second label of the record node of an erased id."""

STORE = "MemoryGraph"
"""One node that says which set of stores this is and in which format."""

FORMAT = 1

INDEXED = ("createdAt", "sessionId", "textHash", "userId")
"""Properties with an index on prompts and on responses."""

UNIQUE = {
    f"{label.lower()}_key": (
        f"CREATE CONSTRAINT {label.lower()}_key IF NOT EXISTS "
        f"FOR (n:{label}) REQUIRE n.key IS UNIQUE"
    )
    for label in (*LABELS, RECORD, STORE)
}
"""Constraints by name."""

INDEXES = {
    f"{label.lower()}_{name}": (
        f"CREATE INDEX {label.lower()}_{name} IF NOT EXISTS FOR (n:{label}) ON (n.{name})"
    )
    for label in ("Prompt", "Response")
    for name in INDEXED
} | {"record_time": f"CREATE INDEX record_time IF NOT EXISTS FOR (n:{RECORD}) ON (n.time)"}
"""Indexes by name."""
