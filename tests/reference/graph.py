"""The graph of a set of events, as ``docs/graph.md`` describes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.records import compose
from tests.reference.facts import Facts
from tests.reference.screening import collapse

Node = tuple[str, str]
Edge = tuple[str, Node, Node]
Values = dict[str, Any]


def present(values: Values) -> Values:
    """Absent values, empty lists and empty objects are left out."""
    return {n: v for n, v in values.items() if v is not None and v not in ([], {})}


class Graph:
    """Nodes with their own properties, nodes with registers, and edges."""

    def __init__(self) -> None:
        self._own: dict[Node, Values] = {}
        self._edges: dict[Edge, Values] = {}
        self._latest: dict[tuple[Node, str], tuple[tuple[int, str], Any]] = {}
        self._extremes: dict[tuple[Node, str], int] = {}

    def nodes(self) -> dict[Node, Values]:
        """Ends that nobody described are there without properties."""
        found: dict[Node, Values] = {end: {} for _, *ends in self._edges for end in ends}
        for (node, name), (_, value) in self._latest.items():
            found.setdefault(node, {})[name] = value
        for (node, name), value in self._extremes.items():
            found.setdefault(node, {})[name] = value
        return found | self._own

    def edges(self) -> dict[Edge, Values]:
        return self._edges

    def add(self, fact: Facts, joined: Facts) -> None:
        """All that one event says, as its last version says it."""
        if fact["session"] is not None:
            self._session(fact, joined)
        if fact["kind"] == "session":
            return
        if fact["model"] is not None:
            self._model(fact, joined)
        label = fact["kind"].capitalize()
        me = (label, fact["id"])
        self._own[me] = present(_common(fact, joined) | _special(fact, joined))
        if joined["model"] is not None:
            model = joined["model"]
            self._edge("USES_MODEL", me, ("Model", compose(model["provider"], model["id"])))
        if label == "Prompt":
            self._prompt(me, fact, joined)
        else:
            self._response(me, fact)
        if joined["settled"] and fact["text"] is not None and fact["text"].says:
            text = self._text(joined, fact["text"].hash, len(collapse(fact["text"].text)), fact)
            self._edge("HAS_TEXT", me, text)

    def _prompt(self, me: Node, fact: Facts, joined: Facts) -> None:
        session = fact["session"]
        self._edge("PART_OF", me, ("Session", compose(session["id"])))
        for document in fact["documents"]:
            place = compose(session["application"], document["id"], document["hash"])
            node = ("Document", place)
            values = {n: document[n] for n in ("id", "hash")}
            self._say(node, fact, values | {"applicationId": session["application"]})
            self._least(node, "length", document["length"])
            held = self._edges.get(("RETRIEVED", me, node), {}).get("score")
            scores = [s for s in (document["score"], held) if s is not None]
            self._edge("RETRIEVED", me, node, {"score": max(scores)} if scores else {})
        if not joined["settled"]:
            return
        if fact["text"].says:
            template = fact["template"]
            node = ("Template", compose(joined["user"][0], template["id"]))
            self._edge("INSTANTIATES", me, node)
            self._say(node, fact, {n: template[n] for n in ("id", "text", "source")})
        history = fact["history"]
        if history is not None and history["last"].text not in ("", "[WITHHELD]"):
            last = history["last"]
            if collapse(last.text):
                text = self._text(joined, last.hash, len(collapse(last.text)), fact)
                self._edge("AFTER", me, text, {"role": history["role"]})

    def _response(self, me: Node, fact: Facts) -> None:
        self._edge("RESPONDS_TO", me, ("Prompt", fact["prompt"]))
        for index, call in enumerate(fact["calls"]):
            node = ("ToolCall", f"{fact['id']}/{index}")
            self._own[node] = present({"responseId": fact["id"], "index": index, **call})
            self._edge("INVOKES", me, node)

    def _session(self, fact: Facts, joined: Facts) -> None:
        raw = fact["session"]
        session, user = ("Session", compose(raw["id"])), ("User", compose(raw["user"]))
        self._say(session, fact, {"id": raw["id"], "purpose": raw["purpose"]}, seen=True)
        self._say(user, fact, {"id": raw["user"]}, seen=True)
        self._edge("STARTED_BY", session, user)
        if raw["application"] is not None:
            application = ("Application", compose(raw["application"]))
            self._say(application, fact, {"id": raw["application"]}, seen=True)
            self._edge("IN", session, application)
        name, organisation = joined["own_user"]
        if name is not None:
            tenant = ("Tenant", compose(name))
            self._say(tenant, fact, {"id": name, "organisation": organisation}, seen=True)
            self._edge("MEMBER_OF", user, tenant)
        if fact["kind"] == "session":
            values = {"status": fact["status"], "startedAt": fact["started"]}
            values |= {"endedAt": fact["ended"], "metadata": fact["metadata"]}
            self._say(session, fact, values | {"tags": fact["tags"]})

    def _model(self, fact: Facts, joined: Facts) -> None:
        raw, entry = fact["model"], joined["own_registry"]
        named = ("Model", compose(raw["provider"], raw["id"]))
        values = {n: raw[n] for n in ("id", "provider", "version")}
        self._say(named, fact, values, seen=True)
        if entry is None:
            return
        node = ("Model", compose(entry.provider, entry.id))
        values = {"family": entry.family, "contextWindow": entry.context_window}
        values |= {"maxOutputTokens": entry.max_output_tokens}
        if node != named:
            values |= {"id": entry.id, "provider": entry.provider}
            self._edge("ALIAS_OF", named, node)
        self._say(node, fact, values)

    def _text(self, joined: Facts, text_hash: str, length: int, fact: Facts) -> Node:
        node = ("Text", compose(joined["user"][0], text_hash))
        self._say(node, fact, {"hash": text_hash})
        self._least(node, "length", length)
        return node

    def _say(self, node: Node, fact: Facts, values: Values, *, seen: bool = False) -> None:
        at = (fact["time"], fact["id"])
        for name, value in present(values).items():
            held = self._latest.get((node, name))
            if held is None or at >= held[0]:
                self._latest[node, name] = (at, value)
        if seen:
            self._least(node, "firstSeen", fact["time"])
            latest = self._extremes.get((node, "lastSeen"), fact["time"])
            self._extremes[node, "lastSeen"] = max(latest, fact["time"])

    def _least(self, node: Node, name: str, value: int) -> None:
        self._extremes[node, name] = min(self._extremes.get((node, name), value), value)

    def _edge(self, kind: str, source: Node, target: Node, values: Values | None = None) -> None:
        self._edges[kind, source, target] = values or {}


def findings(fact: Facts) -> Iterable[str]:
    return sorted({entity for entity, _ in fact["found"]})


def _common(fact: Facts, joined: Facts) -> Values:
    text, session, model = fact["text"], joined["session"] or {}, joined["model"] or {}
    says = text is not None and text.says
    entry = joined["registry"]
    return {
        "id": fact["id"],
        "createdAt": fact["time"],
        "state": joined["state"],
        "textHash": text.hash if says else None,
        "textLength": len(text.text) if says else None,
        "withheld": True if text is not None and text.withheld else None,
        "language": fact["language"],
        "languageConfidence": fact["confidence"],
        "tokens": fact["tokens"],
        "tokenSource": fact["token_source"],
        "sessionId": session.get("id"),
        "userId": session.get("user"),
        "applicationId": session.get("application"),
        "purpose": session.get("purpose"),
        "tenant": joined["user"][0],
        "organisation": joined["user"][1],
        "modelId": model.get("id"),
        "modelProvider": model.get("provider"),
        "modelVersion": model.get("version"),
        "registryModel": None if entry is None else compose(entry.provider, entry.id),
        "piiEntities": list(findings(fact)),
        "piiFindings": sorted(f"{e}:{action}:{n}" for (e, action), n in fact["found"].items()),
        "tags": fact["tags"],
        "source": fact["source"],
        **fact["trace"],
    }


def _special(fact: Facts, joined: Facts) -> Values:
    return _of_prompt(fact) if fact["kind"] == "prompt" else _of_response(fact, joined)


def _of_prompt(fact: Facts) -> Values:
    template, history, images = fact["template"], fact["history"] or {}, fact["images"]
    says = fact["text"].says
    return {
        "modelParameters": fact["model"]["parameters"],
        "templateId": template["id"] if says else None,
        "templateSource": template["source"] if says else None,
        "templateReproduces": template["reproduces"] if says else None,
        "parameters": fact["parameters"],
        "metadata": fact["metadata"],
        "images": len(images) or None,
        "imageTypes": [i["type"] for i in images if i["type"] is not None],
        "imageBytes": sum(i["size"] for i in images) if images else None,
        "imageKeys": [i["key"] for i in images],
        "imageUrls": [i["url"] for i in images if i["url"] is not None],
        "historyMessages": history.get("messages"),
        "historyHash": history.get("hash"),
        "documents": len(fact["documents"]) or None,
        "retrievalMethod": fact["retrieval"],
    }


def _of_response(fact: Facts, joined: Facts) -> Values:
    cost, error = joined["cost"], fact["error"] or {}
    return {
        "promptId": fact["prompt"],
        "finishReason": fact["reason"],
        "finishReasonOriginal": fact["reason_original"],
        "toolCalls": len(fact["calls"]) or None,
        **(fact["usage"] or {}),
        "latencyMs": fact["latency"],
        "ttftMs": fact["ttft"],
        "throughput": fact["throughput"],
        "reportedCost": fact["reported"],
        "costStatus": cost["status"],
        "costPicoUsd": cost.get("pico"),
        "priceVersion": cost.get("version"),
        "priceFrom": cost.get("from"),
        "costTokenSource": cost.get("source"),
        "errorCode": error.get("code"),
        "errorMessage": error.get("message"),
        "errorType": error.get("type"),
        "errorRecoverable": error.get("recoverable"),
    }
