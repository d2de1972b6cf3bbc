"""The stages of a worker, put together from the settings."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from flows.keys import Keys
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
    """The stages in order; ``hit_rates`` answers each cache's hits in per cent."""

    stages: tuple[Stage[Any, Any], ...]
    hit_rates: Callable[[], dict[str, float]]


def build_pipeline(settings: Settings, keys: Keys, stores: Stores) -> Pipeline:
    """Loads the models and warms them up, so that no event's time budget pays for it."""
    # Imported here: the libraries behind the stages take seconds, and most commands need none.
    from stages.dedupe import Dedupe
    from stages.embed.cache import LayeredCache, MemoryCache
    from stages.embed.encoder import Encoder
    from stages.embed.stage import EmbedStage
    from stages.extract import ExtractStage
    from stages.lookup import LookupStage, TomlDirectory, open_registry
    from stages.text import TextStage
    from stages.validate.stage import Validate

    validate = Validate(settings.validate_)
    pii = build_pii(settings, keys)
    text = TextStage()
    embed = EmbedStage(
        Encoder(settings.embed) if settings.embed.mode == "inline" else None,
        LayeredCache(MemoryCache(settings.embed.cache_entries), stores.vectors),
    )
    directory = TomlDirectory(settings.lookup.users, pii.screen_identifier)
    lookup = LookupStage(open_registry(settings.lookup), directory, stores.joins, settings.lookup)
    stages = (
        validate,
        Dedupe(stores.claims, keys.content),
        text,
        pii,
        embed,
        lookup,
        ExtractStage(version(DISTRIBUTION)),
    )
    warm_up(validate, text, pii, embed)

    def hit_rates() -> dict[str, float]:
        asked = embed.cached + embed.encoded
        return {
            "vectors": 100.0 * embed.cached / asked if asked else 0.0,
            "screened": 100.0 * pii.screener.hit_rate,
        }

    return Pipeline(stages, hit_rates)


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


def warm_up(*stages: Stage[Any, Any]) -> None:
    """Sends one made-up prompt through stages that keep nothing of an event."""
    moment = 1_704_067_200_000
    event = {
        "eventId": str(uuid.UUID(int=0)),
        "timestamp": "2024-01-01T00:00:00Z",
        "prompt": {"text": WARM_UP},
        "session": {"id": "warm-up", "userId": "warm-up"},
        "model": {"id": "gpt-4o", "provider": "openai"},
    }
    topic = "llm.prompts.v1"
    original = Original(None, (), msgspec.json.encode(event))
    chunk: Chunk[Any] = Chunk(
        Partition(topic, 0), (LogRecord(Origin(topic, 0, 0, moment), original),), moment
    )
    for stage in stages:
        chunk = stage(chunk).passed
