"""The stages of a worker, put together from the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from flows.keys import Keys
from flows.settings import Settings
from flows.stores import Stores
from schemas.chunk import Stage


class Pipeline(msgspec.Struct, frozen=True):
    """The stages in order; hit_rates``: per cent of hits of each cache, when asked."""

    stages: tuple[Stage[Any, Any], ...]
    hit_rates: Callable[[], dict[str, float]]


def build_pipeline(settings: Settings, keys: Keys, stores: Stores) -> Pipeline:
    """Loads the models and warms them up, so that the first event does not pay for it."""
    raise NotImplementedError
