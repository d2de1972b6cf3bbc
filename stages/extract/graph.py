"""The graph record of an event: its own node and edges, and what it contributes to shared ones."""

from __future__ import annotations

from schemas.items import (
    DocumentRef,
    Enriched,
    Screened,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedSession,
    SessionRef,
)
from schemas.records import (
    EdgeWrite,
    GraphRecord,
    NodeWrite,
    Stamp,
    Value,
    register_stamp,
)
from stages.extract.content import collapsed_length, content_of, has_content, settled
from stages.extract.properties import (
    key,
    prompt_properties,
    response_properties,
    tool_call_properties,
)
from stages.extract.shared import Contribution, Node, model_node


def graph_record(item: Enriched, stamp: Stamp) -> GraphRecord:
    """All nodes and edges; owned ones first. See ``docs/graph.md``."""
    event = item.event
    shared = Contribution(event.time, register_stamp(event.time, event.id))
    nodes: list[NodeWrite] = []
    edges: list[EdgeWrite] = []
    if isinstance(event, ScreenedPrompt):
        _prompt(item, event, nodes, edges, shared)
    elif isinstance(event, ScreenedResponse):
        _response(item, event, nodes, edges, shared)
    else:
        _session(item, event, shared)
    return GraphRecord(stamp, (*nodes, *shared.nodes), (*edges, *shared.edges))


def _prompt(
    item: Enriched,
    event: ScreenedPrompt,
    nodes: list[NodeWrite],
    edges: list[EdgeWrite],
    shared: Contribution,
) -> None:
    node = ("Prompt", event.id)
    nodes.append(NodeWrite(*node, prompt_properties(item, event)))
    edges.append(_owned("PART_OF", node, ("Session", key(event.session.id))))
    edges.append(_owned("USES_MODEL", node, model_node(event.model)))
    shared.session(event.session, item.own_user)
    shared.model(event.model, item.own_registry)
    if event.documents:
        _documents(event, node, edges, shared)
    if not settled(item):
        return
    tenant = item.user.tenant
    content = content_of(event)
    if content is not None:
        template = ("Template", key(tenant, event.template.id))
        edges.append(_owned("INSTANTIATES", node, template))
        shared.template(template, event.template)
        text = _text_node(tenant, content.hash)
        edges.append(_owned("HAS_TEXT", node, text))
        shared.text(text, content.hash, collapsed_length(content))
    history = event.history
    if history is not None and has_content(history):
        last = _text_node(tenant, history.last_hash)
        edges.append(_owned("AFTER", node, last, {"role": history.last_role}))
        shared.text(last, history.last_hash, history.last_length)


def _response(
    item: Enriched,
    event: ScreenedResponse,
    nodes: list[NodeWrite],
    edges: list[EdgeWrite],
    shared: Contribution,
) -> None:
    node = ("Response", event.id)
    nodes.append(NodeWrite(*node, response_properties(item, event)))
    edges.append(_owned("RESPONDS_TO", node, ("Prompt", event.prompt_id)))
    if item.model is not None:
        edges.append(_owned("USES_MODEL", node, model_node(item.model)))
    if event.session is not None:
        shared.session(event.session, item.own_user)
    if event.model is not None:
        shared.model(event.model, item.own_registry)
    for call in event.tool_calls:
        tool = ("ToolCall", f"{event.id}/{call.index}")
        nodes.append(NodeWrite(*tool, tool_call_properties(event.id, call)))
        edges.append(_owned("INVOKES", node, tool))
    content = content_of(event)
    if content is not None and settled(item):
        text = _text_node(item.user.tenant, content.hash)
        edges.append(_owned("HAS_TEXT", node, text))
        shared.text(text, content.hash, collapsed_length(content))


def _session(item: Enriched, event: ScreenedSession, shared: Contribution) -> None:
    shared.session(event.session, item.own_user)
    shared.session_event(event)


def _documents(
    event: ScreenedPrompt, node: Node, edges: list[EdgeWrite], shared: Contribution
) -> None:
    best: dict[Node, DocumentRef] = {}
    for document in event.documents:
        target = _document_node(event.session, document.id, document.hash)
        there = best.get(target)
        if there is None or _score(document) > _score(there):
            best[target] = document
    for target, document in best.items():
        score: dict[str, Value] = {} if document.score is None else {"score": document.score}
        edges.append(_owned("RETRIEVED", node, target, score))
        shared.document(target, document, event.session.application)


def _score(document: DocumentRef) -> float:
    return float("-inf") if document.score is None else document.score


def _document_node(session: SessionRef, id_: Screened, content_hash: str) -> Node:
    return "Document", key(session.application, id_, content_hash)


def _text_node(tenant: str | None, text_hash: str) -> Node:
    # A hash is hex: only the tenant may need encoding.
    return "Text", f"{key(tenant)}/{text_hash}"


def _owned(
    kind: str, source: Node, target: Node, properties: dict[str, Value] | None = None
) -> EdgeWrite:
    return EdgeWrite(kind, source, target, properties or {}, owned=True)
