"""A text that a person asks with, treated as an event's text is."""

from __future__ import annotations

import os
from typing import Any

from flows.keys import derive
from flows.pipeline import build_pii, made_up_prompt
from flows.settings import Settings
from schemas.chunk import Stage
from schemas.failures import UserError
from schemas.items import Embedded


def screened(settings: Settings, text: str) -> str:
    """The text as the stores would hold it, for a service outside. Loads the detectors; raises
    UserError where a policy withholds all of it, or there is nothing in it."""
    from stages.embed import embeddable
    from stages.text import TextStage
    from stages.validate.stage import Validate

    # No identifier is asked for: any key does.
    pii = build_pii(settings, derive(os.urandom(32)))
    stages: tuple[Stage[Any, Any], ...] = (Validate(settings.validate_), TextStage(), pii)
    chunk = made_up_prompt(text, "none")
    for stage in stages:
        chunk = stage(chunk).passed
    item: Embedded | None = chunk.items[0] if chunk.items else None
    found = None if item is None else embeddable(item.event)
    if found is None:
        raise UserError(
            "Nothing of this text may be sent to the embedding service ([pii.policies])."
        )
    return found.text
