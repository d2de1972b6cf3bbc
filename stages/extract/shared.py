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


class Contribution:
    """Collects what one event, at one moment, says of shared nodes.

    ``at`` is the event's register stamp: the greatest wins. A value that is None does not take
    part.
    """

    __slots__ = ("_at", "_time", "edges", "nodes")

    def __init__(self, time: int, at: str) -> None:
        self._time = time
        self._at = at
        self.nodes: list[NodeWrite] = []
        self.edges: list[EdgeWrite] = []

    def session(self, session: SessionRef, user: UserFacts | None) -> None:
        """The session, its user and application, and the user's tenant where one is known."""
        session_node = ("Session", key(session.id))
        user_node = ("User", key(session.user))
        self._node(session_node, {"id": session.id, "purpose": session.purpose}, seen=True)
        self._node(user_node, {"id": session.user}, seen=True)
        self._edge("STARTED_BY", session_node, user_node)
        if session.application is not None:
            application = ("Application", key(session.application))
            self._node(application, {"id": session.application}, seen=True)
            self._edge("IN", session_node, application)
        if user is not None and user.tenant is not None:
            tenant = ("Tenant", key(user.tenant))
            self._node(tenant, {"id": user.tenant, "organisation": user.organisation}, seen=True)
            self._edge("MEMBER_OF", user_node, tenant)

    def session_event(self, event: ScreenedSession) -> None:
        """What only a session event says of its session."""
        values: dict[str, Value] = {
            "status": event.status,
            "startedAt": event.started,
            "endedAt": event.ended,
            "metadata": json_text(event.metadata),
            "tags": event.tags or None,
        }
        self._node(("Session", key(event.session.id)), values)

    def model(self, model: ModelRef, registry: ModelFacts | None) -> None:
        """The model as it is named, and the registry's entry it stands for."""
        named = model_node(model)
        values: dict[str, Value] = {
            "id": model.id,
            "provider": model.provider,
            "version": model.version,
        }
        self._node(named, values, seen=True)
        if registry is None:
            return
        entry = ("Model", registry_key(registry))
        facts: dict[str, Value] = {
            "family": registry.family,
            "contextWindow": registry.context_window,
            "maxOutputTokens": registry.max_output_tokens,
        }
        if entry != named:
            facts |= {"id": registry.id, "provider": registry.provider}
            self._edge("ALIAS_OF", named, entry)
        self._node(entry, facts)

    def text(self, node: Node, text_hash: str, length: int) -> None:
        self.nodes.append(
            NodeWrite(
                *node,
                None,
                (
                    Register("hash", text_hash, "latest", self._at),
                    Register("length", length, "min"),
                ),
            )
        )

    def template(self, node: Node, template: TemplateRef) -> None:
        self._node(node, {"id": template.id, "text": template.text, "source": template.source})

    def document(self, node: Node, document: DocumentRef, application: str | None) -> None:
        values: dict[str, Value] = {
            "id": document.id,
            "hash": document.hash,
            "applicationId": application,
        }
        self._node(node, values)
        self.nodes.append(NodeWrite(*node, None, (Register("length", document.length, "min"),)))

    def _node(self, node: Node, values: dict[str, Value], *, seen: bool = False) -> None:
        at = self._at
        registers = [
            Register(name, value, "latest", at)
            for name, value in values.items()
            if value is not None
        ]
        if seen:
            registers.append(Register("firstSeen", self._time, "min"))
            registers.append(Register("lastSeen", self._time, "max"))
        self.nodes.append(NodeWrite(*node, None, tuple(registers)))

    def _edge(self, kind: str, source: Node, target: Node) -> None:
        self.edges.append(EdgeWrite(kind, source, target))


def model_node(model: ModelRef) -> Node:
    return "Model", key(model.provider, model.id)
