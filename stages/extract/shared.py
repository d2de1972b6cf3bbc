"""What an event contributes to nodes and edges that it shares with others: from itself alone."""

from __future__ import annotations

from schemas.items import (
    DocumentRef,
    ModelFacts,
    ModelRef,
    ScreenedSession,
    SessionRef,
    TemplateRef,
    UserFacts,
)
from schemas.records import EdgeWrite, NodeWrite, Register, Value
from stages.extract.properties import json_text, key, registry_key

Node = tuple[str, str]
"""Label and key."""
Named = tuple[str, Value]
"""A register's name and value."""


class Contribution:
    """Collects what one event, at one moment, says of shared nodes.

    ``at`` is the event's register stamp: the greatest wins. A value that is None does not take
    part.
    """

    __slots__ = ("_at", "_seen", "edges", "nodes")

    def __init__(self, time: int, at: str) -> None:
        self._at = at
        self._seen = (Register("firstSeen", time, "min"), Register("lastSeen", time, "max"))
        self.nodes: list[NodeWrite] = []
        self.edges: list[EdgeWrite] = []

    def session(self, session: SessionRef, user: UserFacts | None) -> None:
        """The session, its user and application, and the user's tenant where one is known."""
        session_node = ("Session", key(session.id))
        user_node = ("User", key(session.user))
        self._hub(session_node, ("id", session.id), ("purpose", session.purpose))
        self._hub(user_node, ("id", session.user))
        self._edge("STARTED_BY", session_node, user_node)
        if session.application is not None:
            application = ("Application", key(session.application))
            self._hub(application, ("id", session.application))
            self._edge("IN", session_node, application)
        if user is not None and user.tenant is not None:
            tenant = ("Tenant", key(user.tenant))
            self._hub(tenant, ("id", user.tenant), ("organisation", user.organisation))
            self._edge("MEMBER_OF", user_node, tenant)

    def session_event(self, event: ScreenedSession) -> None:
        """What only a session event says of its session."""
        self._node(
            ("Session", key(event.session.id)),
            ("status", event.status),
            ("startedAt", event.started),
            ("endedAt", event.ended),
            ("metadata", json_text(event.metadata)),
            ("tags", event.tags or None),
        )

    def model(self, model: ModelRef, registry: ModelFacts | None) -> None:
        """The model as it is named, and the registry's entry it stands for."""
        named = model_node(model)
        self._hub(named, ("id", model.id), ("provider", model.provider), ("version", model.version))
        if registry is None:
            return
        entry = ("Model", registry_key(registry))
        self._node(
            entry,
            ("family", registry.family),
            ("contextWindow", registry.context_window),
            ("maxOutputTokens", registry.max_output_tokens),
        )
        if entry != named:
            self._node(entry, ("id", registry.id), ("provider", registry.provider))
            self._edge("ALIAS_OF", named, entry)

    def text(self, node: Node, text_hash: str, length: int) -> None:
        self._sized(node, length, ("hash", text_hash))

    def template(self, node: Node, template: TemplateRef) -> None:
        self._node(node, ("id", template.id), ("text", template.text), ("source", template.source))

    def document(self, node: Node, document: DocumentRef, application: str | None) -> None:
        self._sized(
            node,
            document.length,
            ("id", document.id),
            ("hash", document.hash),
            ("applicationId", application),
        )

    def _node(self, node: Node, *values: Named) -> None:
        self.nodes.append(NodeWrite(*node, None, tuple(self._latest(values))))

    def _hub(self, node: Node, *values: Named) -> None:
        """A node with first and last seen: one whose edges are too many to derive them."""
        self.nodes.append(NodeWrite(*node, None, (*self._latest(values), *self._seen)))

    def _sized(self, node: Node, length: int, *values: Named) -> None:
        size = Register("length", length, "min")
        self.nodes.append(NodeWrite(*node, None, (*self._latest(values), size)))

    def _latest(self, values: tuple[Named, ...]) -> list[Register]:
        at = self._at
        return [Register(n, v, "latest", at) for n, v in values if v is not None]

    def _edge(self, kind: str, source: Node, target: Node) -> None:
        self.edges.append(EdgeWrite(kind, source, target))


def model_node(model: ModelRef) -> Node:
    return "Model", key(model.provider, model.id)
