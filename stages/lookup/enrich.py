"""What is known of an event, put together: pure, from answers that were asked for before."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from schemas.items import (
    Cost,
    Embedded,
    Enriched,
    Lack,
    ModelFacts,
    ModelRef,
    PromptSide,
    ScreenedPrompt,
    ScreenedResponse,
    SessionRef,
    UserFacts,
)
from schemas.ports import ModelEntry
from stages.embed.texts import embeddable
from stages.lookup.cost import LACKING, NONE, UNPRICED, cost_of

UNKNOWN = UserFacts()

UserKey = tuple[str, int]
ModelKey = tuple[str, str | None, int]


class Met(msgspec.Struct, frozen=True):
    """A response and what the join store knows of its prompt."""

    response: Embedded
    event: ScreenedResponse
    side: PromptSide | None
    orphan: bool

    @property
    def session(self) -> SessionRef | None:
        """The prompt's where both have one."""
        return self.event.session if self.side is None else self.side.session

    @property
    def model(self) -> ModelRef | None:
        """The prompt's where both have one."""
        return self.event.model if self.side is None else self.side.model

    @property
    def user_key(self) -> UserKey | None:
        """Whom the joined record belongs to: the prompt's user, at the prompt's time."""
        if self.side is not None:
            return user_key(self.side.session, self.side.time)
        session = self.event.session
        return None if session is None else user_key(session, self.event.time)


def user_key(session: SessionRef, time: int) -> UserKey:
    return session.user, time


def model_key(model: ModelRef, time: int) -> ModelKey:
    return model.id, model.provider, time


class Answers(msgspec.Struct, frozen=True):
    """What directory and registry answered. A key that is not there was not answered; a model
    whose entry is None is not known."""

    users: Mapping[UserKey, UserFacts]
    models: Mapping[ModelKey, ModelEntry | None]

    def user(self, key: UserKey | None) -> UserFacts | None:
        return None if key is None else self.users.get(key)

    def facts(self, model: ModelRef | None, time: int) -> ModelFacts | None:
        if model is None:
            return None
        entry = self.models.get(model_key(model, time))
        return None if entry is None else entry.facts

    def answered(self, model: ModelRef, time: int) -> bool:
        return model_key(model, time) in self.models


def enriched(item: Embedded, answers: Answers, embeds: bool = False) -> Enriched:
    """A prompt or a session event: complete at once."""
    event = item.event
    assert not isinstance(event, ScreenedResponse)
    user = answers.user(user_key(event.session, event.time))
    model = event.model if isinstance(event, ScreenedPrompt) else None
    facts = answers.facts(model, event.time)
    registry = model is not None and answers.answered(model, event.time)
    return Enriched(
        event=event,
        state="complete",
        version=1 + (user is not None) + registry + (item.vector is not None),
        session=event.session,
        user=user or UNKNOWN,
        model=model,
        registry=facts,
        vector=item.vector,
        vector_model=item.vector_model,
        original=item.original,
        own_user=user,
        own_registry=facts,
        lacking=_lacking(
            embeds and owes_vector(item), user is None, model is not None and not registry
        ),
    )


def enriched_response(met: Met, answers: Answers, embeds: bool = False) -> Enriched:
    """A response with the prompt's session, user and model where they are known."""
    item, event, side = met.response, met.event, met.side
    session, model, key = met.session, met.model, met.user_key
    user = side.user if side is not None and side.user.known else answers.user(key)
    own = None if event.session is None else answers.user(user_key(event.session, event.time))
    directory = user is not None and (event.session is None or own is not None)
    registry = all(answers.answered(m, event.time) for m in (model, event.model) if m is not None)
    state = "complete" if side is not None else "orphan" if met.orphan else "waiting"
    known = directory + (model is not None and registry) + (item.vector is not None) + met.orphan
    return Enriched(
        event=event,
        state=state,
        version=1 + known + (0 if side is None else 2),
        session=session,
        user=user or UNKNOWN,
        model=model,
        registry=answers.facts(model, event.time),
        cost=_cost(event, state, model, answers),
        vector=item.vector,
        vector_model=item.vector_model,
        original=item.original,
        own_user=own,
        own_registry=answers.facts(event.model, event.time),
        lacking=_lacking(
            embeds and owes_vector(item), key is not None and not directory, not registry
        ),
        side=side,
        orphan=met.orphan,
    )


def owes_vector(item: Embedded) -> bool:
    """Whether the event has a text that gets a vector, and none yet."""
    return item.vector is None and embeddable(item.event) is not None


def _cost(event: ScreenedResponse, state: str, model: ModelRef | None, answers: Answers) -> Cost:
    if event.usage is None:
        return NONE
    if model is None:
        return LACKING if state == "waiting" else UNPRICED
    if not answers.answered(model, event.time):
        return LACKING
    entry = answers.models[model_key(model, event.time)]
    return cost_of(event.usage, None if entry is None else entry.price)


def _lacking(embedding: bool, directory: bool, registry: bool) -> tuple[Lack, ...]:
    lacks: tuple[Lack, ...] = ()
    if embedding:
        lacks += ("embedding",)
    if directory:
        lacks += ("directory",)
    if registry:
        lacks += ("registry",)
    return lacks
