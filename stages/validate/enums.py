"""Open enumerations: values not known today become ``other``."""

from __future__ import annotations

from msgspec.structs import replace

from schemas.events import (
    FINISH_REASONS,
    OTHER,
    PURPOSES,
    RETRIEVAL_METHODS,
    ROLES,
    Context,
    Event,
    Message,
    PromptEvent,
    ResponseEvent,
    Session,
)


def close_enums(event: Event) -> tuple[Event, str | None]:
    """The event with known values only, and a response's finish reason if it was replaced."""
    session = event.session
    if session is not None and not _known(session.purpose, PURPOSES):
        event = replace(event, session=_session(session))
    if isinstance(event, PromptEvent):
        if event.context is not None:
            event = _prompt(event, event.context)
    elif isinstance(event, ResponseEvent):
        reason = event.response.finish_reason
        if not _known(reason, FINISH_REASONS):
            return replace(event, response=replace(event.response, finish_reason=OTHER)), reason
    return event, None


def _known(value: str | None, values: frozenset[str]) -> bool:
    return value is None or value in values


def _session(session: Session) -> Session:
    return replace(session, purpose=OTHER)


def _prompt(event: PromptEvent, context: Context) -> PromptEvent:
    history = context.conversation_history
    method = context.retrieval_method
    if history and not all(m.role is None or m.role in ROLES for m in history):
        history = [_message(message) for message in history]
    elif _known(method, RETRIEVAL_METHODS):
        return event
    if not _known(method, RETRIEVAL_METHODS):
        method = OTHER
    return replace(
        event, context=replace(context, conversation_history=history, retrieval_method=method)
    )


def _message(message: Message) -> Message:
    return message if _known(message.role, ROLES) else replace(message, role=OTHER)
