"""Texts near in meaning to an event's text or to any text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from flows.asked import screened
from flows.settings import Settings
from flows.views.stores import Views
from schemas.failures import UserError
from schemas.items import Kind
from schemas.queries import Neighbour
from schemas.records import RecordId

KINDS: tuple[Kind, ...] = ("prompt", "response")


class Near(msgspec.Struct, frozen=True):
    """A neighbour with its text. ``score`` is the cosine, 1 for equal texts."""

    score: float
    kind: str
    id: str
    session: str | None
    tenant: str | None
    text: str


def near_event(stores: Views, event: str, limit: int, tenant: str | None) -> list[Near]:
    """The nearest texts to that of a prompt or response. Raises UserError for an unknown id."""
    for kind in KINDS:
        asked = RecordId(kind, event)
        found = stores.vectors.vector(asked)
        if found is not None:
            vector, model = found
            near = stores.vectors.similar(vector, limit, model=model, tenant=tenant, exclude=asked)
            return _with_texts(stores, near)
    raise UserError(
        f"There is no vector for event {event!r}: it is not there, has no text, or was written "
        'with `[embed] mode = "off"`.'
    )


def near_text(
    stores: Views, settings: Settings, text: str, limit: int, tenant: str | None
) -> list[Near]:
    """The nearest texts to a text that need not be stored. Opens the embedder of the settings; one
    that is a service gets the text screened, as those of events. Raises UserError and
    Unavailable."""
    from stages.embed import open_embedder

    if not settings.embed.is_here:
        text = screened(settings, text)
    embedder = open_embedder(settings.embed)
    try:
        ask: Callable[[str], bytes] | None = getattr(embedder, "embed_query", None)
        vector = embedder.embed([text])[0] if ask is None else ask(text)
        near = stores.vectors.similar(vector, limit, model=embedder.model, tenant=tenant)
    finally:
        close: Callable[[], None] | None = getattr(embedder, "close", None)
        if close is not None:
            close()
    return _with_texts(stores, near)


def _with_texts(stores: Views, near: Sequence[Neighbour]) -> list[Near]:
    documents = stores.documents.fetch([n.id for n in near])
    found = []
    for n in near:
        content = documents[n.id].content if n.id in documents else {}
        session = n.metadata.get("session")
        text = str(content.get("text", ""))
        found.append(Near(n.score, n.id.kind, n.id.id, session, n.tenant, text))
    return found
