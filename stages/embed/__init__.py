"""Stage 5, embed: one unit vector per prompt and response text, from a local model."""

from __future__ import annotations

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
]
