"""Completes the events that went on without something: to exactly what they would have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from flows.draining import ENRICHMENT, Watched, told
from flows.enriching import Enricher, Progress
from flows.keys import load_keys
from flows.pipeline import build_pii
from flows.services import (
    Services,
    check_embedder,
    embed_stage,
    lookup_stage,
    open_services,
    usage_of,
)
from flows.settings import Settings
from flows.stopping import signals
from flows.stores import Stores, open_stores

if TYPE_CHECKING:
    from stages.pii.stage import PiiStage


def enrich(
    settings: Settings,
    *,
    follow: bool = False,
    forgotten: bool = False,
    stop: Event | None = None,
    services: Callable[..., Services] = open_services,
    port: int | None = None,
) -> Progress:
    """Tries everything in the queue once; with ``follow`` goes on until SIGTERM or SIGINT, or until
    ``stop`` is set. ``port``: where health and metrics are served meanwhile.

    ``forgotten``: first completes the responses that the join store has forgotten
    (:mod:`flows.forgotten`).

    Works beside a running worker, and several at a time where the queue is in Kafka. A request
    leaves the queue only after what came of it is durable; a crash in between does it again, which
    changes nothing. Raises UserError, Damaged, and (without ``follow``) Unavailable when the queue
    cannot be read or written.
    """
    with (
        opened(settings, services) as (enricher, stores, pii),
        signals(enricher.control, settings.worker.stop_seconds),
        told(settings, _watched(enricher, stores), port),
    ):
        if forgotten:
            from flows.forgotten import complete_forgotten
            from flows.prove.run import log_view

            with log_view(settings, stores) as log:
                found = complete_forgotten(settings, stores, log, enricher, pii)
            enricher.note(found.completed, found.expired)
        if follow:
            enricher.follow(stop)
        else:
            enricher.once(stop)
        return enricher.end()


def _watched(enricher: Enricher, stores: Stores) -> Watched:
    return Watched(
        controls=lambda: [enricher.control],
        done=lambda: {ENRICHMENT: enricher.done()},
        codes=lambda: dict.fromkeys(enricher.lacking(), "lacking"),
        backlog=lambda: {ENRICHMENT: stores.requests.backlog()},
        usage=enricher.usage,
    )


@contextmanager
def opened(
    settings: Settings, services: Callable[..., Services] = open_services
) -> Iterator[tuple[Enricher, Stores, PiiStage]]:
    """Everything that it takes, closed at the end."""
    keys = load_keys(settings.data, create=False)
    with open_stores(settings, keys) as stores:
        pii = build_pii(settings, keys)
        made = services(settings, pii.screen_identifier, deferred=True)
        try:
            check_embedder(settings, made.embedder)
            enricher = Enricher(
                stores,
                embed_stage(settings, made, stores.vectors),
                lookup_stage(settings, made, stores.joins),
                lambda: usage_of(made.embedder),
            )
            yield enricher, stores, pii
        finally:
            made.close()
