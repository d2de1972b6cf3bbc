"""A small pipeline without models: real validate, dedupe, claims and joins, the rest reduced.

What the later stages derive is small, but a pure function of the set of events, so that runs can
be compared store by store.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from flows.keys import Keys
from flows.pipeline import Pipeline
from flows.settings import Settings
from flows.stores import Stores
from schemas.chunk import Chunk, Outcome
from schemas.events import PromptEvent, ResponseEvent
from schemas.items import (
    Decoded,
    Embedded,
    Enriched,
    Measured,
    ModelRef,
    PromptSide,
    Screened,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedSession,
    ScreenedText,
    SessionRef,
    TemplateRef,
    TextFacts,
    UserFacts,
    kind_of,
)
from schemas.log import Origin
from schemas.ports import Joins, Waiting
from schemas.records import (
    DocumentRecord,
    EdgeWrite,
    GraphRecord,
    Mutation,
    NodeWrite,
    PointRecord,
    Stamp,
)
from stages.dedupe import Dedupe
from stages.validate.stage import Validate

Hook = Callable[[Decoded], None]


class Text:
    name = "text"

    def __init__(self, hook: Hook | None = None) -> None:
        self._hook = hook

    def __call__(self, chunk: Chunk[Decoded]) -> Outcome[Measured]:
        passed = []
        for item in chunk.items:
            if self._hook is not None:
                self._hook(item)
            event = item.event
            text = event.prompt.text if isinstance(event, PromptEvent) else None
            if isinstance(event, ResponseEvent):
                text = event.response.text
            passed.append(Measured(item, text, TextFacts()))
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time))


class Pii:
    name = "pii"

    def __call__(self, chunk: Chunk[Measured]) -> Outcome[Embedded]:
        return Outcome(Chunk(chunk.partition, [_screen(m) for m in chunk.items], chunk.log_time))


class Embed:
    name = "embed"

    def __call__(self, chunk: Chunk[Embedded]) -> Outcome[Embedded]:
        return Outcome(chunk)


class Lookup:
    name = "lookup"

    def __init__(self, joins: Joins, orphan_after: int = 60_000) -> None:
        self._joins = joins
        self._orphan_after = orphan_after

    def __call__(self, chunk: Chunk[Embedded]) -> Outcome[Enriched]:
        passed: list[Enriched] = []
        sides = [
            (_side(i.event), i.event.origin.timestamp)
            for i in chunk.items
            if isinstance(i.event, ScreenedPrompt)
        ]
        completed = self._joins.add_prompts(sides) if sides else {}
        waiting = [
            Waiting(i, i.event.origin.timestamp)
            for i in chunk.items
            if isinstance(i.event, ScreenedResponse)
        ]
        answers = self._joins.add_responses(waiting) if waiting else {}
        by_id = {side.prompt_id: side for side, _ in sides}
        for item in chunk.items:
            event = item.event
            if isinstance(event, ScreenedResponse):
                passed.append(_enrich(item, *answers[event.id]))
            else:
                user = UserFacts("acme", None, True)
                passed.append(Enriched(event, "complete", 1, event.session, user))
        for prompt_id, found in completed.items():
            passed += [_enrich(w.response, by_id[prompt_id], w.orphan) for w in found]
        due = self._joins.overdue(chunk.log_time - self._orphan_after, 100)
        passed += [_enrich(w.response, None, True) for w in due]
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time))


class Extract:
    name = "extract"

    def __call__(self, chunk: Chunk[Enriched]) -> Outcome[Mutation]:
        return Outcome(Chunk(chunk.partition, [_mutate(e) for e in chunk.items], chunk.log_time))


def build(settings: Settings, keys: Keys, stores: Stores, *, hook: Hook | None = None) -> Pipeline:
    """The tiny pipeline; ``hook`` is called with each event in the text stage."""
    stages = (
        Validate(settings.validate_),
        Dedupe(stores.claims, keys.content),
        Text(hook),
        Pii(),
        Embed(),
        Lookup(stores.joins),
        Extract(),
    )
    return Pipeline(stages, lambda: {"vectors": 0.0})


def _screen(measured: Measured) -> Embedded:
    decoded, event = measured.decoded, measured.decoded.event
    common: dict[str, Any] = {"id": decoded.id, "time": decoded.time, "origin": decoded.origin}
    text = None
    if measured.text is not None:
        digest = hashlib.sha256(measured.text.encode()).hexdigest()
        text = ScreenedText(Screened(measured.text), digest, len(measured.text))
    screened: ScreenedPrompt | ScreenedResponse | ScreenedSession
    if isinstance(event, PromptEvent):
        assert text is not None
        screened = ScreenedPrompt(
            text=text,
            session=SessionRef(Screened(event.session.id), Screened(event.session.user_id)),
            model=ModelRef(Screened(event.model.id)),
            template=TemplateRef("t", text.text, "derived"),
            **common,
        )
    elif isinstance(event, ResponseEvent):
        screened = ScreenedResponse(prompt_id=event.prompt_event_id.lower(), text=text, **common)
    else:
        session = SessionRef(Screened(event.session.id), Screened(event.session.user_id))
        screened = ScreenedSession(session=session, status=event.status, **common)
    return Embedded(screened, original=decoded.original)


def _side(prompt: ScreenedPrompt) -> PromptSide:
    user = UserFacts("acme", None, True)
    return PromptSide(prompt.id, prompt.time, prompt.session, prompt.model, user)


def _enrich(item: Embedded, side: PromptSide | None, orphan: bool) -> Enriched:
    state = "complete" if side else "orphan" if orphan else "waiting"
    return Enriched(
        item.event,
        state,
        1 + (side is not None) + orphan,
        side.session if side else None,
        side.user if side else UserFacts(),
        side.model if side else None,
        original=item.original,
    )


def _mutate(enriched: Enriched) -> Mutation:
    event = enriched.event
    kind = kind_of(event)
    bare = msgspec.structs.replace(event, origin=Origin("", 0, 0, 0))
    facts = (bare, enriched.state, enriched.session, enriched.user, enriched.model)
    stamp = Stamp(
        kind=kind,
        id=event.id,
        version=enriched.version,
        time=event.time,
        origin=event.origin,
        pipeline="tiny",
        tenant=enriched.user.tenant,
        user=enriched.session.user if enriched.session else None,
        sha256=hashlib.sha256(msgspec.json.encode(facts)).hexdigest(),
    )
    label = kind.capitalize()
    properties: dict[str, Any] = {"state": enriched.state, "time": event.time}
    nodes = [NodeWrite(label, event.id, properties)]
    edges = []
    if enriched.session is not None:
        nodes.append(NodeWrite("Session", enriched.session.id))
        edges.append(
            EdgeWrite("PART_OF", (label, event.id), ("Session", enriched.session.id), owned=True)
        )
    if isinstance(event, ScreenedResponse):
        edges.append(
            EdgeWrite("RESPONDS_TO", (label, event.id), ("Prompt", event.prompt_id), owned=True)
        )
    text = getattr(event, "text", None)
    fields: dict[str, Any] = {"state": enriched.state}
    if isinstance(event, ScreenedResponse):
        fields["prompt"] = event.prompt_id
    document = DocumentRecord(stamp, text.text if text else Screened(""), fields)
    point = None
    if enriched.state != "waiting":
        nanoseconds = event.time * 1000 + int(event.id[-4:], 16) % 1000
        point = PointRecord(stamp, nanoseconds, {"kind": kind}, {"n": 1, "event_id": event.id})
    graph = GraphRecord(stamp, tuple(nodes), tuple(edges))
    return Mutation(event, enriched.state, graph, document, None, point)


def events(count: int, seed: int = 0, start: int = 1_700_000_000) -> Iterator[dict[str, Any]]:
    """Prompts with a response each (some before their prompt, some without one) and sessions."""
    rng = random.Random(seed)
    pending: list[dict[str, Any]] = []
    made = 0
    while made < count:
        moment = start + made * 3
        session = {
            "id": f"s-{rng.randrange(max(1, count // 6))}",
            "userId": f"u-{rng.randrange(9)}",
        }
        prompt_id = _uuid(rng)
        prompt = {
            "eventId": prompt_id,
            "timestamp": _time(moment),
            "prompt": {"text": f"question {rng.randrange(1_000_000)} " * rng.randrange(1, 8)},
            "session": session,
            "model": {"id": "m-1", "provider": "p"},
        }
        response = {
            "eventId": _uuid(rng),
            "timestamp": _time(moment + 1),
            "promptEventId": prompt_id,
            "response": {"text": f"answer {rng.randrange(1_000_000)}", "finishReason": "stop"},
            "usage": {"promptTokens": 5, "completionTokens": 7, "totalTokens": 12},
        }
        pair = [prompt, response]
        if rng.random() < 0.1:
            pair.reverse()
        if rng.random() < 0.03:
            pair.remove(prompt)
        if rng.random() < 0.1:
            pair.append(
                {
                    "eventId": _uuid(rng),
                    "timestamp": _time(moment + 2),
                    "session": session,
                    "status": "completed",
                }
            )
        for event in [*pair, *pending]:
            yield event
            made += 1
        pending = [rng.choice(pair)] if rng.random() < 0.03 else []


def lines(count: int, seed: int = 0) -> list[bytes]:
    """The same, one line of JSON each."""
    return [json.dumps(event).encode() for event in events(count, seed)]


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
