"""A JSON tree to a typed event: what the struct decoder does not do itself."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from schemas.events import TOPICS, Event, PromptEvent, SessionEvent
from schemas.failures import Detail
from stages.validate.formats import is_uri, written_strictly
from stages.validate.raw import Broken
from stages.validate.shape import SCHEMAS, explain, whole_numbers

_convert = msgspec.convert
_IDS = ("eventId", "promptEventId")


def decode(tree: Any, topic: str) -> Event:
    """The event of a tree; raises :class:`Broken` exactly when the topic's schema refuses it.

    Takes the tree over: ids of events are put in lower case in it.
    """
    if type(tree) is dict:
        for name in _IDS:
            value = tree.get(name)
            if type(value) is str and value.isascii():
                tree[name] = value.lower()
    try:
        event = cast(Event, _convert(tree, TOPICS[topic]))
    except msgspec.ValidationError:
        event = _second_look(tree, topic)
    if not _strict(event, tree):
        raise _explained(tree, topic)
    return event


def _second_look(tree: Any, topic: str) -> Event:
    problem = explain(tree, SCHEMAS[topic])
    if problem is None:
        try:
            return cast(Event, _convert(whole_numbers(tree, SCHEMAS[topic]), TOPICS[topic]))
        except msgspec.ValidationError:
            problem = ("undecodable", Detail())
    raise Broken(*problem)


def _explained(tree: Any, topic: str) -> Broken:
    return Broken(*(explain(tree, SCHEMAS[topic]) or ("undecodable", Detail())))


def _strict(event: Event, tree: dict[str, Any]) -> bool:
    """What the schema says and the struct's types cannot."""
    if not written_strictly(tree["timestamp"]):
        return False
    if isinstance(event, PromptEvent):
        images = event.prompt.images
        if not images:
            return event.prompt.text != ""
        return all(image.url is None or is_uri(image.url) for image in images)
    if isinstance(event, SessionEvent):
        written = (tree.get("startedAt"), tree.get("endedAt"))
        return all(text is None or written_strictly(text) for text in written)
    return True
