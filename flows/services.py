"""The services that enrich events: registry, directory and embedder, as the settings name them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from flows.settings import Settings
from schemas.failures import UserError
from schemas.ports import Cache, Directory, Embedder, Joins, Price, Registry, Unavailable

if TYPE_CHECKING:
    from stages.embed import EmbedStage
    from stages.embed.projection import Projection
    from stages.lookup import LookupStage

SAMPLE_BATCH = 256
"""Texts of a sample that are embedded in one call."""


class Services(msgspec.Struct, frozen=True):
    """``embedder`` is None where texts get no vectors, or not in this process."""

    registry: Registry
    directory: Directory
    embedder: Embedder | None

    def close(self) -> None:
        """Ends connections and threads of those that have some."""
        for service in (self.registry, self.directory, self.embedder):
            close: Callable[[], None] | None = getattr(service, "close", None)
            if close is not None:
                close()


def open_services(
    settings: Settings, screen: Callable[[str], str], *, deferred: bool = False
) -> Services:
    """A service need not answer yet. ``deferred``: the embedder of a deferred mode as well.

    Raises UserError.
    """
    from stages.embed import open_embedder
    from stages.lookup import open_directory, open_registry

    registry = open_registry(settings.lookup)
    directory = open_directory(settings.lookup, screen)
    mode = settings.embed.mode
    embeds = mode == "inline" or (deferred and mode == "deferred")
    embedder = open_embedder(settings.embed, prices_of(registry)) if embeds else None
    return Services(registry, directory, embedder)


def embed_stage(settings: Settings, services: Services, vectors: Cache) -> EmbedStage:
    """The embed stage with its caches."""
    from stages.embed import EmbedStage, LayeredCache, MemoryCache

    near = MemoryCache(settings.embed.cache_entries)
    return EmbedStage(services.embedder, LayeredCache(near, vectors))


def lookup_stage(settings: Settings, services: Services, joins: Joins) -> LookupStage:
    """The lookup stage."""
    from stages.lookup import LookupStage

    embeds = settings.embed.mode != "off"
    return LookupStage(services.registry, services.directory, joins, settings.lookup, embeds=embeds)


def prices_of(registry: Registry) -> Callable[[str, str], Price | None]:
    """What a model costs at this moment, by model and provider. Raises Unavailable."""

    def price(model: str, provider: str) -> Price | None:
        (entry,) = registry.lookup([(model, provider, time.time_ns() // 1_000)])
        return None if entry is None else entry.price

    return price


def check_embedder(settings: Settings, embedder: Any) -> None:
    """Raises UserError where the vector store is made for vectors of another length, and where a
    service refuses what the settings say (a key, a model). One that does not answer now is no
    error: events go on without a vector meanwhile."""
    if embedder is None:
        return
    store = settings.backends.vector
    key = "stores.vector.dimensions" if store == "sqlite" else f"{store}.dimensions"
    holder = settings.stores.vector if store == "sqlite" else getattr(settings, store)
    if holder.dimensions != embedder.dimensions:
        raise UserError(
            f"{key} is {holder.dimensions}, and {embedder.model} makes vectors of "
            f"{embedder.dimensions}: set {key} = {embedder.dimensions} for a new store, or shorten "
            "the vectors with embed.dimensions or embed.projection."
        )
    check: Callable[[], None] | None = getattr(embedder, "check", None)
    if check is not None:
        with suppress(Unavailable):
            check()


def fit_projection(settings: Settings, texts: Sequence[str], dimensions: int) -> Projection:
    """A projection fitted on the vectors that the configured model makes of these texts.

    Raises UserError and Unavailable.
    """
    import numpy as np

    from stages.embed import open_embedder
    from stages.embed.projection import Projection

    distinct = list(dict.fromkeys(text for line in texts if (text := " ".join(line.split()))))
    whole = settings.embed.model_copy(update={"projection": None})
    embedder = open_embedder(whole)
    try:
        vectors = [
            vector
            for start in range(0, len(distinct), SAMPLE_BATCH)
            for vector in embedder.embed(distinct[start : start + SAMPLE_BATCH])
        ]
    finally:
        close: Callable[[], None] | None = getattr(embedder, "close", None)
        if close is not None:
            close()
    matrix = np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), embedder.dimensions)
    return Projection.fit(embedder.model, matrix, dimensions)


def usage_of(embedder: Any) -> dict[str, int]:
    """What an embedder has used since the start: requests, tokens, cost_pico_usd, …; empty for one
    that costs nothing."""
    usage: Callable[[], dict[str, int]] | None = getattr(embedder, "usage", None)
    return {} if usage is None else usage()
