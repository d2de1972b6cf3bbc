"""Stage 5, embed: one unit vector per prompt and response text, from a model here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from schemas.ports import Embedder, Price
from stages.embed.cache import LayeredCache, MemoryCache
from stages.embed.encoder import Encoder, PrecisionUnsupported
from stages.embed.model_files import MODEL_ID, ModelUnavailable
from stages.embed.settings import EmbedSettings
from stages.embed.stage import EmbedStage
from stages.embed.texts import embeddable

__all__ = [
    "MODEL_ID",
    "EmbedSettings",
    "EmbedStage",
    "Encoder",
    "LayeredCache",
    "MemoryCache",
    "ModelUnavailable",
    "PrecisionUnsupported",
    "embeddable",
    "open_embedder",
]


def open_embedder(settings: EmbedSettings, price: Callable[[str, str], Price | None]) -> Embedder:
    """The embedder that the settings name; a service need not answer yet. Raises UserError.

    ``price`` answers what a model costs now, by model and provider; it may raise Unavailable.
    """
    made: Embedder = Encoder(settings)
    return made
