"""The pii stage: raw events in, screened events out."""

from __future__ import annotations

from collections.abc import Callable

from schemas.chunk import Chunk, Outcome
from schemas.events import FINISH_REASONS, PromptEvent, ResponseEvent, SessionEvent
from schemas.failures import Detail, Rejected
from schemas.items import (
    Embedded,
    Measured,
    ModelRef,
    Screened,
    ScreenedEvent,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedSession,
)
from schemas.log import Original
from stages.pii import walk
from stages.pii.asker import Asker, text_of
from stages.pii.cache import Generations
from stages.pii.jsontree import MAX_DEPTH, TooDeep
from stages.pii.screener import IDENTIFIER, Answer, Detector, Screener
from stages.pii.settings import PiiSettings

SOURCE_HEADER = "source"
_MODELS = 4_000

Build = Callable[[], ScreenedEvent]


class PiiStage:
    """Screens every string of an event; see ``docs/personal-data.md``.

    ``patterns`` and ``names`` find personal data; without ``names`` only patterns count.
    ``pseudonym_key`` (32 bytes) makes the pseudonyms of identifiers, ``image_key`` (32 bytes) the
    hashes of images; both must stay the same for a store's lifetime. Findings and screened texts
    depend on the event, the detectors and the settings alone, not on the chunk or on what came
    before. An event nested too deeply is rejected with the code ``too_deep``.
    """

    name = "pii"

    def __init__(
        self,
        patterns: Detector,
        names: Detector | None,
        settings: PiiSettings,
        *,
        pseudonym_key: bytes,
        image_key: bytes,
    ) -> None:
        self.screener = Screener(patterns, names, settings, pseudonym_key)
        self._languages = frozenset(settings.detect.ner_languages)
        self._image_key = image_key
        self._models: Generations[bytes, ModelRef] = Generations(_MODELS)

    def __call__(self, chunk: Chunk[Measured], /) -> Outcome[Embedded]:
        rejected: list[Rejected] = []
        builds: list[tuple[Build, Original]] = []
        try:
            for item in chunk.items:
                try:
                    builds.append((self._ask(item), item.decoded.original))
                except TooDeep:
                    rejected.append(self._too_deep(item))
            self.screener.flush()
        finally:
            self.screener.discard()
        passed = [Embedded(build(), original=original) for build, original in builds]
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time), tuple(rejected))

    def screen_identifier(self, identifier: str) -> Screened:
        """An identifier as events carry it behind this stage: itself, or its pseudonym.

        For directories, whose entries must be found under the ids that events are stored with.
        """
        self.screener.asked += 1
        answer = self.screener.ask(IDENTIFIER, identifier)
        self.screener.flush()
        return answer.text

    def _too_deep(self, item: Measured) -> Rejected:
        decoded = item.decoded
        detail = Detail("$", f"nesting of at most {MAX_DEPTH}")
        return Rejected(
            self.name,
            "too_deep",
            decoded.origin,
            detail,
            decoded.original,
            decoded.id,
            decoded.kind,
        )

    def _ask(self, item: Measured) -> Build:
        ask = Asker(self.screener, self._models, names=item.facts.language in self._languages)
        event = item.decoded.event
        build: Build
        if isinstance(event, PromptEvent):
            build = self._prompt(ask, item, event)
        elif isinstance(event, ResponseEvent):
            build = _response(ask, item, event)
        else:
            build = _session(ask, item, event)
        self.screener.asked += len(ask.answers)
        return build

    def _prompt(self, ask: Asker, item: Measured, event: PromptEvent) -> Build:
        body, context = event.prompt, event.context
        main = ask.text(item.text or "")
        session, model = walk.session(ask, event.session), walk.model(ask, event.model)
        template = walk.template(ask, body, main)
        images = walk.images(ask, body.images, self._image_key)
        metadata = walk.json_object(ask, body.metadata)
        history = walk.history(ask, context.conversation_history if context else None)
        documents = walk.documents(ask, context.documents if context else None)
        trace, tags = walk.trace(ask, event.trace_context), walk.tags(ask, event.tags)
        source = _source(ask, item.decoded.original)

        def build() -> ScreenedPrompt:
            reference, parameters = template()
            return ScreenedPrompt(
                id=item.decoded.id,
                time=item.decoded.time,
                origin=item.decoded.origin,
                facts=item.facts,
                findings=ask.findings(),
                withheld=main.withheld,
                tags=tuple(tag.text for tag in tags),
                trace=trace(),
                source=text_of(source),
                text=walk.screened_text(main),
                session=session(),
                model=model(),
                template=reference,
                parameters=parameters,
                images=images(),
                metadata=metadata(),
                history=history(),
                documents=documents(),
                retrieval_method=walk.retrieval_method(
                    context.retrieval_method if context else None
                ),
            )

        return build


def _response(ask: Asker, item: Measured, event: ResponseEvent) -> Build:
    decoded, body, metrics = item.decoded, event.response, event.metrics
    main = None if item.text is None else ask.text(item.text)
    session = walk.session(ask, event.session) if event.session else None
    model = walk.model(ask, event.model) if event.model else None
    calls = walk.tool_calls(ask, body.tool_calls, body.function_call)
    error = walk.error(ask, event.error)
    trace, tags = walk.trace(ask, event.trace_context), walk.tags(ask, event.tags)
    source = _source(ask, decoded.original)
    reason = body.finish_reason
    unknown = decoded.finish_reason_original
    if unknown is None and reason is not None and reason not in FINISH_REASONS:
        unknown = reason
    reason_original = ask.label_or_none(unknown)

    def build() -> ScreenedResponse:
        return ScreenedResponse(
            id=decoded.id,
            time=decoded.time,
            origin=decoded.origin,
            facts=item.facts,
            findings=ask.findings(),
            withheld=main is not None and main.withheld,
            tags=tuple(tag.text for tag in tags),
            trace=trace(),
            source=text_of(source),
            prompt_id=event.prompt_event_id.lower(),
            text=None if main is None else walk.screened_text(main),
            finish_reason=walk.finish_reason(reason),
            finish_reason_original=text_of(reason_original),
            tool_calls=calls(),
            usage=walk.usage(event.usage),
            latency_ms=metrics.latency if metrics else None,
            ttft_ms=metrics.ttft if metrics else None,
            throughput=metrics.throughput if metrics else None,
            reported_cost=metrics.cost if metrics else None,
            error=error(),
            session=session() if session else None,
            model=model() if model else None,
        )

    return build


def _session(ask: Asker, item: Measured, event: SessionEvent) -> Build:
    decoded = item.decoded
    session = walk.session(ask, event.session)
    metadata = walk.json_object(ask, event.metadata)
    tags = walk.tags(ask, event.tags)
    source = _source(ask, decoded.original)

    def build() -> ScreenedSession:
        return ScreenedSession(
            id=decoded.id,
            time=decoded.time,
            origin=decoded.origin,
            facts=item.facts,
            findings=ask.findings(),
            tags=tuple(tag.text for tag in tags),
            source=text_of(source),
            session=session(),
            status=event.status,
            started=walk.microseconds(event.started_at),
            ended=walk.microseconds(event.ended_at),
            metadata=metadata(),
        )

    return build


def _source(ask: Asker, original: Original) -> Answer | None:
    """The ``source`` header of the record; its key and its other headers go no further."""
    for name, value in original.open()[1]:
        if name == SOURCE_HEADER:
            return ask.label(value.decode("utf-8", "replace"))
    return None
