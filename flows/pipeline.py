"""The stages of a worker, put together from the settings."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from flows.keys import Keys
from flows.services import (
    Services,
    check_embedder,
    embed_stage,
    lookup_stage,
    open_services,
    usage_of,
)
from flows.settings import Settings
from flows.stores import Stores
from schemas.chunk import Chunk, Stage
from schemas.log import LogRecord, Origin, Original, Partition

if TYPE_CHECKING:
    from stages.pii.stage import PiiStage

DISTRIBUTION = "llm-memory-graph"
WARM_UP = """Warm up the models, please: who was Ada Lovelace? Do not mail her@example.com, and do
not call 020 7946 0958 by phone: what these two need is loaded when the first one comes."""


class Pipeline(msgspec.Struct, frozen=True):
    """The stages in order; ``hit_rates`` answers each cache's hits in per cent, ``usage`` what the
    embedder has used since the start."""

    stages: tuple[Stage[Any, Any], ...]
    hit_rates: Callable[[], dict[str, float]]
    close: Callable[[], None] = lambda: None
    usage: Callable[[], dict[str, int]] = dict


def build_pipeline(
    settings: Settings,
    keys: Keys,
    stores: Stores,
    *,
    services: Callable[..., Services] = open_services,
) -> Pipeline:
    """Loads the models and warms them up, so that no event's time budget pays for it."""
    # Imported here: the libraries behind the stages take seconds, and most commands need none.
    from stages.dedupe import Dedupe
    from stages.extract import ExtractStage
    from stages.text import TextStage
    from stages.validate.stage import Validate

    validate = Validate(settings.validate_)
    pii = build_pii(settings, keys)
    text = TextStage()
    opened = services(settings, pii.screen_identifier)
    embed = embed_stage(settings, opened, stores.vectors)
    lookup = lookup_stage(settings, opened, stores.joins)
    stages = (
        validate,
        Dedupe(stores.claims, keys.content),
        text,
        pii,
        embed,
        lookup,
        ExtractStage(version(DISTRIBUTION)),
    )
    warm_up(validate, text, pii, *([embed] if settings.embed.is_here else []))
    check_embedder(settings, opened.embedder)

    def hit_rates() -> dict[str, float]:
        asked = embed.cached + embed.encoded
        return {
            "vectors": 100.0 * embed.cached / asked if asked else 0.0,
            "screened": 100.0 * pii.screener.hit_rate,
        }

    return Pipeline(stages, hit_rates, opened.close, lambda: usage_of(opened.embedder))


def build_pii(settings: Settings, keys: Keys) -> PiiStage:
    """The PII stage with its detectors."""
    from stages.pii.detect import NameDetector, PatternDetector
    from stages.pii.stage import PiiStage

    detect = settings.pii.detect
    return PiiStage(
        PatternDetector(detect),
        NameDetector(settings=detect) if detect.names else None,
        settings.pii,
        pseudonym_key=keys.pseudonyms,
        image_key=keys.images,
    )


def made_up_prompt(text: str, model: str) -> Chunk[Any]:
    """A chunk of one prompt that nobody sent, as it comes from the log."""
    moment, topic = 1_704_067_200_000, "llm.prompts.v1"
    event = {
        "eventId": str(uuid.UUID(int=0)),
        "timestamp": "2024-01-01T00:00:00Z",
        "prompt": {"text": text},
        "session": {"id": "made-up", "userId": "made-up"},
        "model": {"id": model, "provider": "openai"},
    }
    original = Original(None, (), msgspec.json.encode(event))
    record = LogRecord(Origin(topic, 0, 0, moment), original)
    return Chunk(Partition(topic, 0), (record,), moment)


def warm_up(*stages: Stage[Any, Any]) -> None:
    """Sends one made-up prompt through stages that keep nothing of an event."""
    chunk = made_up_prompt(WARM_UP, "gpt-4o")
    for stage in stages:
        chunk = stage(chunk).passed
