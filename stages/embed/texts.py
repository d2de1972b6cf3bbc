"""Which texts get a vector."""

from __future__ import annotations

from schemas.items import WITHHELD, ScreenedEvent, ScreenedSession, ScreenedText


def embeddable(event: ScreenedEvent) -> ScreenedText | None:
    """The text that gets a vector; None for sessions and for empty or withheld text."""
    if isinstance(event, ScreenedSession) or event.withheld or event.text is None:
        return None
    text = event.text.text
    return None if text == WITHHELD or not text or text.isspace() else event.text
