"""Stage 6: models, prices, users and tenants are looked up; responses and prompts meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from schemas.chunk import Chunk, Outcome
from schemas.items import (
    Embedded,
    Enriched,
    PromptSide,
    Request,
    ScreenedPrompt,
    ScreenedResponse,
    UserFacts,
)
from schemas.ports import Directory, Joins, ModelEntry, Registry, Unavailable, Waiting
from stages.lookup.enrich import (
    UNKNOWN,
    Answers,
    Met,
    ModelKey,
    UserKey,
    enriched,
    enriched_response,
    model_key,
    user_key,
)
from stages.lookup.overdue import Overdue
from stages.lookup.settings import LookupSettings

_EXPIRY_STEPS = 100

K = TypeVar("K", UserKey, ModelKey)
A = TypeVar("A")


class LookupStage:
    """Every event passes, with the facts known now; so may responses of earlier chunks.

    Prompt sides are added first: a response of the same chunk finds its prompt in either order. A
    response that waited comes out again when its prompt comes, and as an orphan when
    ``chunk.log_time`` has passed it by ``orphan_after``; an empty chunk brings out what is due as
    well. A response comes out once a chunk, with all that is known. While the registry or the
    directory is unavailable, events pass and say what they are lacking; without the join store
    nothing can pass (a response would wait for ever), and Unavailable is raised.
    """

    name = "lookup"

    def __init__(
        self,
        registry: Registry,
        directory: Directory,
        joins: Joins,
        settings: LookupSettings | None = None,
        *,
        embeds: bool = False,
    ) -> None:
        """``embeds``: texts are to get vectors, so that one without a vector is lacking it."""
        self._registry = registry
        self._directory = directory
        self._joins = joins
        self._settings = settings or LookupSettings()
        self._embeds = embeds
        self._overdue = Overdue(joins, self._settings.orphans_per_chunk)
        self._expired = 0

    def __call__(self, chunk: Chunk[Embedded], /) -> Outcome[Enriched]:
        users = self._users(_own_users(chunk.items))
        responses, others = self._join(chunk, users)
        due = self._overdue.ask(chunk.log_time - self._settings.orphan_after_ms)
        try:
            passed = self._passed(chunk, users, responses, others, due)
            if self._overdue.exhausted:
                self._expire(chunk.log_time - self._settings.join_retention_ms)
        except BaseException as error:
            if not due:
                raise
            self._overdue.failed(error)
            if not isinstance(error, Exception):
                raise
            # Without them, so that the chunk fails for the sake of its own events only.
            passed = self._passed(chunk, users, responses, others, ())
        else:
            self._overdue.passed()
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time))

    def complete(self, requests: Sequence[Request]) -> list[Enriched]:
        """Events that went on without something, with what is known of them now; in order.

        What was known of a response's prompt comes with the request: the join store is not asked.
        """
        items = [request.item for request in requests]
        met = {
            number: Met(request.item, event, request.side, request.orphan)
            for number, request in enumerate(requests)
            if isinstance(event := request.item.event, ScreenedResponse)
        }
        users = self._users([*_own_users(items), *_joined_users(met.values())])
        answers = Answers(users, self._models(_wanted_models(items, met.values())))
        return [
            enriched_response(met[number], answers, self._embeds)
            if number in met
            else enriched(item, answers, self._embeds)
            for number, item in enumerate(items)
        ]

    def _join(
        self, chunk: Chunk[Embedded], users: Mapping[UserKey, UserFacts]
    ) -> tuple[dict[str, Met], dict[str, Met]]:
        """The chunk's responses by id, and those that waited and come out with it."""
        sides = {
            item.event.id: (_side(item.event, users), item.event.origin.timestamp)
            for item in chunk.items
            if isinstance(item.event, ScreenedPrompt)
        }
        responses = {
            item.event.id: Met(item, item.event, None, False)
            for item in chunk.items
            if isinstance(item.event, ScreenedResponse)
        }
        came = self._joins.add_prompts(list(sides.values())) if sides else {}
        waiting = [Waiting(met.response, met.event.origin.timestamp) for met in responses.values()]
        known = self._joins.add_responses(waiting) if waiting else {}
        for id_, (side, orphan) in known.items():
            responses[id_] = Met(responses[id_].response, responses[id_].event, side, orphan)
        others = {
            met.event.id: met
            for prompt, found in came.items()
            for met in _met(found, sides[prompt][0])
            if met.event.id not in responses
        }
        return responses, others

    def _passed(
        self,
        chunk: Chunk[Embedded],
        users: Mapping[UserKey, UserFacts],
        responses: Mapping[str, Met],
        others: Mapping[str, Met],
        due: Iterable[Waiting],
    ) -> list[Enriched]:
        """The chunk's events, and what comes out with them, with all that is known."""
        items, embeds = chunk.items, self._embeds
        responses, others = dict(responses), dict(others)
        for met in _met(due, None):
            there = responses.get(met.event.id)
            if there is None:
                others.setdefault(met.event.id, met)
            elif there.side is None:
                responses[met.event.id] = Met(there.response, there.event, None, True)
        all_met = [*responses.values(), *others.values()]
        missing = self._users(key for key in _joined_users(all_met) if key not in users)
        answers = Answers({**users, **missing}, self._models(_wanted_models(items, all_met)))
        passed = [
            enriched_response(responses[item.event.id], answers, embeds)
            if isinstance(item.event, ScreenedResponse)
            else enriched(item, answers, embeds)
            for item in items
        ]
        return passed + [enriched_response(one, answers, embeds) for one in others.values()]

    def _expire(self, before: int) -> None:
        """Never before all that is due has come out, and not with every chunk."""
        if before >= self._expired + self._settings.join_retention_ms // _EXPIRY_STEPS:
            self._joins.expire(before)
            self._expired = before

    def _users(self, keys: Iterable[UserKey]) -> dict[UserKey, UserFacts]:
        """Without those that the directory did not answer."""
        return _answered(self._directory.lookup, keys)

    def _models(self, keys: Iterable[ModelKey]) -> dict[ModelKey, ModelEntry | None]:
        """Without those that the registry did not answer."""
        return _answered(self._registry.lookup, keys)


def _answered(ask: Callable[[Sequence[K]], Sequence[A]], keys: Iterable[K]) -> dict[K, A]:
    """What a service answers. While it is down, it is asked key by key: it may remember some."""
    asked = list(dict.fromkeys(keys))
    if not asked:
        return {}
    try:
        return dict(zip(asked, ask(asked), strict=True))
    except Unavailable:
        if len(asked) == 1:
            return {}
    found = {}
    for key in asked:
        with suppress(Unavailable):
            found[key] = ask([key])[0]
    return found


def _met(found: Iterable[Waiting], side: PromptSide | None) -> Iterator[Met]:
    """Responses that waited: with their prompt's side, or overdue without one."""
    for waiting in found:
        event = waiting.response.event
        assert isinstance(event, ScreenedResponse)
        yield Met(waiting.response, event, side, waiting.orphan or side is None)


def _side(prompt: ScreenedPrompt, users: Mapping[UserKey, UserFacts]) -> PromptSide:
    user = users.get(user_key(prompt.session, prompt.time), UNKNOWN)
    return PromptSide(prompt.id, prompt.time, prompt.session, prompt.model, user)


def _own_users(items: Sequence[Embedded]) -> Iterator[UserKey]:
    for item in items:
        if item.event.session is not None:
            yield user_key(item.event.session, item.event.time)


def _joined_users(met: Iterable[Met]) -> Iterator[UserKey]:
    """Users of prompts for whom the side has no answer, and of responses that waited."""
    for one in met:
        key = one.user_key
        if key is not None and (one.side is None or not one.side.user.known):
            yield key
        if one.event.session is not None:
            yield user_key(one.event.session, one.event.time)


def _wanted_models(items: Sequence[Embedded], met: Iterable[Met]) -> Iterator[ModelKey]:
    for item in items:
        if isinstance(item.event, ScreenedPrompt):
            yield model_key(item.event.model, item.event.time)
    for one in met:
        for model in (one.event.model, one.model):
            if model is not None:
                yield model_key(model, one.event.time)
