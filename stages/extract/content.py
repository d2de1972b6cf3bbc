"""What of an event counts as content: text that says something and was not withheld."""

from __future__ import annotations

import hashlib
from typing import Final

from schemas.items import (
    WITHHELD,
    Enriched,
    History,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedText,
)
from stages.text.normal import collapse

_NOTHING: Final = frozenset(hashlib.sha256(t.encode()).hexdigest() for t in ("", WITHHELD))


def content_of(event: ScreenedPrompt | ScreenedResponse) -> ScreenedText | None:
    """None where there is no text, only whitespace, or a ``drop`` policy took it.

    All withheld and all empty texts have one hash: they would look like reuse.
    """
    text = event.text
    if text is None or event.withheld or not text.text or text.text.isspace():
        return None
    return text


def has_content(history: History | None) -> bool:
    """Whether the last message of a history says something."""
    return history is not None and history.last_hash not in _NOTHING


def collapsed_length(text: ScreenedText) -> int:
    """Code points of the text with each run of whitespace as one blank: what its hash is of."""
    return len(collapse(text.text))


def settled(item: Enriched) -> bool:
    """Whether the record's tenant will not change any more for want of an answer."""
    return item.state != "waiting" and "directory" not in item.lacking
