"""A worker with made-up vectors: ``python -m benchmarks.following CONFIG``.

It follows the log until SIGTERM, or reads it to its end with ``--once``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.made_up import MadeUp
from flows.logs import configure
from flows.pipeline import build_pipeline
from flows.services import Services
from flows.settings import Settings, load_settings
from flows.worker import run
from stages.lookup import open_directory, open_registry


def services(settings: Settings, screen: Callable[[str], str]) -> Services:
    """As the settings name them, but for the embedder."""
    registry = open_registry(settings.lookup)
    return Services(registry, open_directory(settings.lookup, screen), MadeUp())


if __name__ == "__main__":
    configure(logging.INFO)
    build = partial(build_pipeline, services=services)
    run(load_settings(Path(sys.argv[1])), follow=sys.argv[2:] != ["--once"], build=build)
