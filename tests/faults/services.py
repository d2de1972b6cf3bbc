"""Registry, directory and embedder that are down for a share of their calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flows.enrich import enrich
from flows.enriching import Progress
from flows.pipeline import build_pipeline
from flows.services import Services
from flows.settings import Settings
from flows.stats import RunSummary
from flows.worker import run
from schemas.ports import Unavailable
from stages.lookup import open_directory, open_registry
from tests.conformance.doubles import HashEmbedder


class Hashes(HashEmbedder):
    """As long as the local encoder's vectors, which the store is made for."""

    dimensions = 384


class Flaky:
    """A service that is down for this share of its calls."""

    def __init__(self, inner: Any, what: str, share: Callable[[], float], dice: random.Random):
        self._inner = inner
        self._what = what
        self._share = share
        self._dice = dice
        self.model = getattr(inner, "model", "")
        self.dimensions = getattr(inner, "dimensions", 0)
        self.failed = 0

    def _check(self) -> None:
        if self._dice.random() < self._share():
            self.failed += 1
            raise Unavailable(self._what, "down")

    def lookup(self, keys: Sequence[Any], /) -> Sequence[Any]:
        self._check()
        answer: Sequence[Any] = self._inner.lookup(keys)
        return answer

    def embed(self, texts: Sequence[str], /) -> Sequence[bytes]:
        self._check()
        answer: Sequence[bytes] = self._inner.embed(texts)
        return answer


class World:
    """Opens flaky services; ``share`` of their calls fail."""

    def __init__(self, seed: int = 0) -> None:
        self.dice = random.Random(seed)
        self.share = 0.0
        self.made: list[Flaky] = []

    def __call__(
        self, settings: Settings, screen: Callable[[str], str], *, deferred: bool = False
    ) -> Services:
        embeds = settings.embed.mode == "inline" or deferred
        flaky = partial(Flaky, share=lambda: self.share, dice=self.dice)
        self.made = [
            flaky(open_registry(settings.lookup), "registry"),
            flaky(open_directory(settings.lookup, screen), "directory"),
            flaky(Hashes(), "embedder"),
        ]
        registry, directory, embedder = self.made
        return Services(registry, directory, embedder if embeds else None)

    def run(self, settings: Settings) -> RunSummary:
        return run(settings, build=partial(build_pipeline, services=self))

    def enrich(self, settings: Settings) -> Progress:
        return enrich(settings, services=self)
