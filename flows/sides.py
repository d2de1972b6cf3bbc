"""What a response has to know of its prompt, read from the graph."""

from __future__ import annotations

from schemas.items import ModelRef, PromptSide, Screened, ScreenedJson, SessionRef, UserFacts
from schemas.queries import GraphQueries, Node


def prompt_side(graph: GraphQueries, prompt_id: str) -> PromptSide | None:
    """What a response needs to know of its prompt, from the graph; None where it has not come."""
    node = graph.node("Prompt", prompt_id)
    return None if node is None or node.owner is None else _side_of(prompt_id, node)


def _side_of(prompt_id: str, node: Node) -> PromptSide:
    properties = node.properties
    tenant = properties.get("tenant")
    return PromptSide(
        prompt_id,
        properties["createdAt"],
        SessionRef(
            properties["sessionId"],
            properties["userId"],
            properties.get("applicationId"),
            properties.get("purpose"),
        ),
        ModelRef(
            Screened(properties["modelId"]),
            properties.get("modelProvider"),
            properties.get("modelVersion"),
            ScreenedJson(properties.get("modelParameters", "{}").encode()),
        ),
        UserFacts(tenant, properties.get("organisation"), known=tenant is not None),
    )
