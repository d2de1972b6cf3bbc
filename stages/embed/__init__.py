"""Stage 5, embed: one unit vector per prompt and response text, from a model here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from schemas.ports import Embedder, Price
from stages.embed.cache import LayeredCache, MemoryCache
from stages.embed.encoder import Encoder, PrecisionUnsupported
from stages.embed.model_files import MODEL_ID, ModelUnavailable
from stages.embed.projection import Projected, Projection
from stages.embed.providers import cohere, openai
from stages.embed.providers.transformers import TransformersEmbedder
from stages.embed.settings import EmbedSettings, Provider
from stages.embed.stage import EmbedStage
from stages.embed.texts import embeddable
from stages.extras import load

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


Prices = Callable[[str, str], Price | None]
"""What a model costs now, by model and provider; may raise Unavailable."""


def open_embedder(
    settings: EmbedSettings, price: Prices = lambda _model, _provider: None
) -> Embedder:
    """The embedder that the settings name; a service need not answer yet. Raises UserError.

    ``price`` is asked for what a service's model costs.
    """
    made = _PROVIDERS[settings.provider](settings, price)
    if settings.projection is None:
        return made
    return Projected(made, Projection.load(settings.projection))


def _local(settings: EmbedSettings, _: Prices) -> Embedder:
    return Encoder(settings)


def _openai(settings: EmbedSettings, price: Prices) -> Embedder:
    made: Embedder = load("stages.embed.providers.remote", "RemoteEmbedder")(
        openai.OpenAi(settings), settings, openai.URL, price
    )
    return made


def _cohere(settings: EmbedSettings, price: Prices) -> Embedder:
    made: Embedder = load("stages.embed.providers.remote", "RemoteEmbedder")(
        cohere.Cohere(settings), settings, cohere.URL, price
    )
    return made


def _transformers(settings: EmbedSettings, _: Prices) -> Embedder:
    return TransformersEmbedder(settings)


_PROVIDERS: dict[Provider, Callable[[EmbedSettings, Prices], Embedder]] = {
    "local": _local,
    "openai": _openai,
    "cohere": _cohere,
    "sentence-transformers": _transformers,
}
