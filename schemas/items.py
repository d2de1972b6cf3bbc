"""What a chunk carries between the stages. After ``Measured`` no type can hold unscreened text.

``Screened`` is a string that the PII stage has passed or rewritten. Only ``stages.pii`` makes one;
everywhere else mypy refuses a plain ``str`` in its place.
"""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

from schemas.events import Event
from schemas.log import Origin, Original

Screened = NewType("Screened", str)
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
ScreenedJson = NewType("ScreenedJson", bytes)
"""Canonical JSON (sorted keys, UTF-8) of a screened object; ``b"{}"`` when there is none."""

WITHHELD = Screened("[WITHHELD]")
EMPTY = Screened("")
Kind = Literal["prompt", "response", "session"]
Lack = Literal["embedding", "directory", "registry"]
"""What may be missing for a while: its service did not answer, or it is filled in later."""


class Decoded(msgspec.Struct, frozen=True):
    """A valid raw event. ``id`` is its lower-case UUID, ``time`` its own time in µs since 1970.

    Ids of events are lower-case and open enumerations hold known values in ``event`` already;
    ``finish_reason_original`` is what a response's reason was, raw, when it became ``other``.
    """

    kind: Kind
    id: str
    time: int
    event: Event
    origin: Origin
    original: Original
    unknown_fields: int = 0
    finish_reason_original: str | None = None


class TextFacts(msgspec.Struct, frozen=True):
    """Measured on the normalised raw text. ``token_source`` says who counted."""

    language: str = "und"
    language_confidence: float = 0.0
    tokens: int = 0
    token_source: str = "none"
    characters: int = 0


class Measured(msgspec.Struct, frozen=True):
    """A raw event with its main text normalised (None: the event has none) and measured."""

    decoded: Decoded
    text: str | None
    facts: TextFacts


class Finding(msgspec.Struct, frozen=True, order=True):
    """How often an entity was found in an event and what was done: flag, redact or drop."""

    entity: str
    action: str
    count: int


class ScreenedText(msgspec.Struct, frozen=True):
    """A screened text with the SHA-256 of its collapsed form and its length in code points."""

    text: Screened
    hash: str
    length: int


class SessionRef(msgspec.Struct, frozen=True):
    """Identifiers as they are, or keyed pseudonyms where they matched a personal-data pattern."""

    id: Screened
    user: Screened
    application: Screened | None = None
    purpose: str | None = None


class ModelRef(msgspec.Struct, frozen=True):
    id: Screened
    provider: Screened | None = None
    version: Screened | None = None
    parameters: ScreenedJson = ScreenedJson(b"{}")


class TemplateRef(msgspec.Struct, frozen=True):
    """``source`` is ``event`` or ``derived``; ``reproduces`` is None when not checkable."""

    id: str
    text: Screened
    source: str
    reproduces: bool | None = None


class ImageFacts(msgspec.Struct, frozen=True):
    """What is kept of an image; ``key`` is a keyed hash of its bytes or URL."""

    mime_type: Screened | None
    size: int
    key: str
    url: Screened | None


class History(msgspec.Struct, frozen=True):
    """A conversation so far: how many messages, one hash of all, and its last message's text.

    ``last_length`` is in code points of the collapsed text, as the hash is.
    """

    messages: int
    hash: str
    last_hash: str
    last_length: int
    last_role: str


class DocumentRef(msgspec.Struct, frozen=True):
    id: Screened
    hash: str
    length: int
    score: float | None


class ToolCallFacts(msgspec.Struct, frozen=True):
    index: int
    id: Screened | None
    type: Screened | None
    name: Screened | None
    arguments: Screened | None


class UsageFacts(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class ErrorFacts(msgspec.Struct, frozen=True):
    code: Screened | None = None
    message: Screened | None = None
    type: Screened | None = None
    recoverable: bool | None = None


class Trace(msgspec.Struct, frozen=True):
    trace_id: Screened | None = None
    span_id: Screened | None = None
    parent_span_id: Screened | None = None


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What every screened event has. ``withheld``: a ``drop`` policy took the whole text."""

    id: str
    time: int
    origin: Origin
    facts: TextFacts = TextFacts()
    findings: tuple[Finding, ...] = ()
    withheld: bool = False
    tags: tuple[Screened, ...] = ()
    trace: Trace | None = None
    source: Screened | None = None


class ScreenedPrompt(Common, frozen=True, kw_only=True, tag="prompt"):
    text: ScreenedText
    session: SessionRef
    model: ModelRef
    template: TemplateRef
    parameters: ScreenedJson = ScreenedJson(b"{}")
    images: tuple[ImageFacts, ...] = ()
    metadata: ScreenedJson = ScreenedJson(b"{}")
    history: History | None = None
    documents: tuple[DocumentRef, ...] = ()
    retrieval_method: str | None = None


class ScreenedResponse(Common, frozen=True, kw_only=True, tag="response"):
    prompt_id: str
    text: ScreenedText | None = None
    finish_reason: str | None = None
    finish_reason_original: Screened | None = None
    tool_calls: tuple[ToolCallFacts, ...] = ()
    usage: UsageFacts | None = None
    latency_ms: int | None = None
    ttft_ms: int | None = None
    throughput: float | None = None
    reported_cost: float | None = None
    error: ErrorFacts | None = None
    session: SessionRef | None = None
    model: ModelRef | None = None


class ScreenedSession(Common, frozen=True, kw_only=True, tag="session"):
    session: SessionRef
    status: str
    started: int | None = None
    ended: int | None = None
    metadata: ScreenedJson = ScreenedJson(b"{}")


ScreenedEvent = ScreenedPrompt | ScreenedResponse | ScreenedSession


def kind_of(event: ScreenedEvent) -> Kind:
    """The kind of a screened event."""
    if isinstance(event, ScreenedPrompt):
        return "prompt"
    return "response" if isinstance(event, ScreenedResponse) else "session"


class Embedded(msgspec.Struct, frozen=True):
    """A screened event and its vector: float32 bytes, little-endian, unit length; None without.

    ``vector_model`` names the encoder. ``original`` is None for one read back from a store.
    """

    event: ScreenedEvent
    vector: bytes | None = None
    vector_model: str | None = None
    original: Original | None = None


class UserFacts(msgspec.Struct, frozen=True):
    """What the directory says of a user at the event's own time; not ``known``: a fact too."""

    tenant: str | None = None
    organisation: str | None = None
    known: bool = False


class ModelFacts(msgspec.Struct, frozen=True):
    """The registry's entry that a model id resolved to (``alias`` when by another name)."""

    id: str
    provider: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    alias: bool = False
    family: str | None = None


class Cost(msgspec.Struct, frozen=True):
    """``pico_usd`` is in 10⁻¹² USD; ``status`` says why it is there or not.

    ``priced``; ``unpriced``: no such model or no price then; ``inconsistent``: parts of the usage
    are larger than the whole; ``lacking``: the model is not known yet, or the registry did not
    answer; ``none``: the event carries no billed tokens. Provenance: which price file, valid from
    when, and who counted the tokens.
    """

    status: str
    pico_usd: int | None = None
    price_version: str | None = None
    price_from: str | None = None
    token_source: str | None = None


class PromptSide(msgspec.Struct, frozen=True):
    """What a response needs to know of its prompt."""

    prompt_id: str
    time: int
    session: SessionRef
    model: ModelRef
    user: UserFacts


class Enriched(msgspec.Struct, frozen=True):
    """An event with all that is known of it now.

    ``state``: ``complete``, ``waiting`` (a response whose prompt has not come) or ``orphan`` (it
    did not come within the configured log time). ``version`` counts the facts known; a later
    version rewrites an earlier one. ``session``, ``model`` and ``user`` are the joined ones;
    ``own_user`` and ``own_registry`` are what the event's own session and model resolved to (None:
    it names none, or unknown). ``lacking`` names what did not answer: embedding, directory,
    registry. ``side`` and ``orphan`` are what the join store answered of a response's prompt.
    """

    event: ScreenedEvent
    state: str
    version: int
    session: SessionRef | None
    user: UserFacts
    model: ModelRef | None = None
    registry: ModelFacts | None = None
    cost: Cost = Cost("none")
    vector: bytes | None = None
    vector_model: str | None = None
    original: Original | None = None
    own_user: UserFacts | None = None
    own_registry: ModelFacts | None = None
    lacking: tuple[Lack, ...] = ()
    side: PromptSide | None = None
    orphan: bool = False


class Request(msgspec.Struct, frozen=True):
    """A wish to complete an event that went on without something that did not answer.

    ``item`` is the screened event with what it has (no original bytes); ``side`` and ``orphan`` are
    what was known of a response's prompt, so that nothing rests on the join store. ``lacks`` is
    not empty. ``log_time`` is the watermark when it went on.
    """

    item: Embedded
    lacks: tuple[Lack, ...]
    side: PromptSide | None = None
    orphan: bool = False
    log_time: int = 0
