"""A text that a person asks with, treated as an event's text is."""

from __future__ import annotations

import os
import uuid
from typing import Any

import msgspec

from flows.keys import derive
from flows.pipeline import build_pii
from flows.settings import Settings
from schemas.chunk import Chunk, Stage
from schemas.failures import UserError
from schemas.items import Embedded
from schemas.log import LogRecord, Origin, Original, Partition

_TOPIC = "llm.prompts.v1"
_MOMENT = 1_704_067_200_000


def screened(settings: Settings, text: str) -> str:
    """The text as the stores would hold it, for a service outside. Loads the detectors; raises
    UserError where a policy withholds all of it, or there is nothing in it."""
    from stages.embed import embeddable
    from stages.text import TextStage
    from stages.validate.stage import Validate

    # No identifier is asked for: any key does.
    pii = build_pii(settings, derive(os.urandom(32)))
    stages: tuple[Stage[Any, Any], ...] = (Validate(settings.validate_), TextStage(), pii)
    event = {
        "eventId": str(uuid.UUID(int=0)),
        "timestamp": "2024-01-01T00:00:00Z",
        "prompt": {"text": text},
        "session": {"id": "asked", "userId": "asked"},
        "model": {"id": "none", "provider": "none"},
    }
    record = LogRecord(
        Origin(_TOPIC, 0, 0, _MOMENT), Original(None, (), msgspec.json.encode(event))
    )
    chunk: Chunk[Any] = Chunk(Partition(_TOPIC, 0), (record,), _MOMENT)
    for stage in stages:
        chunk = stage(chunk).passed
    item: Embedded | None = chunk.items[0] if chunk.items else None
    found = None if item is None else embeddable(item.event)
    if found is None:
        raise UserError(
            "Nothing of this text may be sent to the embedding service ([pii.policies])."
        )
    return found.text
