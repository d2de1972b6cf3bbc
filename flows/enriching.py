"""Takes requests from the queue and completes the events, as far as the services answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from threading import Event
from typing import TYPE_CHECKING, cast

import msgspec
import structlog

from flows.control import Control
from flows.pipeline import DISTRIBUTION
from flows.sides import prompt_side
from flows.stores import Stores
from flows.writing import write_all
from schemas.chunk import Chunk
from schemas.failures import UserError
from schemas.items import Embedded, PromptSide, Request, ScreenedResponse, kind_of
from schemas.log import Partition
from schemas.ports import Damaged, Tombstones, Unavailable
from schemas.queues import Queued, RequestQueue
from schemas.records import Mutation, RecordId

if TYPE_CHECKING:
    from stages.embed import EmbedStage
    from stages.lookup import LookupStage

BATCH = 256
POLL_SECONDS = 0.5
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between passes of ``follow`` while nothing can be completed."""
IDLE_BATCHES = 4
"""Batches without any progress after which ``follow`` pauses; it goes on where it was."""

NAP = 0.2
"""Seconds after which a pause looks whether it is to end."""
MOST_EMPTY = 100
"""Empty answers of a queue that may have more, after which a single pass ends."""

_PARTITION = Partition("llm.enrichment", 0)
_log = structlog.get_logger("enrich")


class Progress(msgspec.Struct):
    """``completed``: written with everything; ``improved``: written with more than before, and
    queued again; ``left``: how many wait now, and what those that were tried lack. ``forgotten``:
    responses that met their prompts through the graph; ``expired``: those that did, but are not in
    the log any more. ``usage``: what the embedder has used."""

    completed: int = 0
    improved: int = 0
    left: int = 0
    forgotten: int = 0
    expired: int = 0
    lacks: dict[str, int] = {}
    usage: dict[str, int] = {}


class Enricher:
    """Takes requests, completes what can be completed now, writes it, settles them."""

    def __init__(
        self,
        stores: Stores,
        embed: EmbedStage,
        lookup: LookupStage,
        usage: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._stores = stores
        self._queue: RequestQueue = stores.requests  # type: ignore[assignment]
        self._embed = embed
        self._lookup = lookup
        self.usage = usage
        self._pipeline = version(DISTRIBUTION)
        self._after = 0
        self._done = Progress()
        self._lacks: Counter[str] = Counter()
        self.control = Control(quiet=True)
        """Stops it, and knows what does not work."""

    def once(self, stop: Event | None = None) -> None:
        """One pass over all that waits now."""
        self._start()
        empty = 0
        while not self._halted(stop) and empty < MOST_EMPTY:
            batch = self._queue.take(BATCH, self._after)
            if batch:
                empty = 0
                self.complete(batch)
            elif self._queue.caught_up():
                return
            else:
                empty += 1

    def follow(self, stop: Event | None = None) -> None:
        """Pass after pass, with pauses that grow while nothing can be completed."""
        failures = idle = 0
        while not self._halted(stop):
            try:
                batch = self._queue.take(BATCH, self._after)
                moved = bool(batch) and self.complete(batch)
            except Unavailable as error:
                _log.warning("waiting", what=error.what, code=error.code)
                self.control.trouble(error.what, error.code)
                self._pause(PAUSES[min(failures, len(PAUSES) - 1)], stop)
                failures += 1
                continue
            for what in self.control.blocking:
                self.control.trouble(what, None)
            if moved:
                failures = idle = 0
            elif not batch and self._after == 0:
                failures = idle = 0
                self._pause(POLL_SECONDS, stop)
            elif not batch or (idle := idle + 1) >= IDLE_BATCHES:
                # At the end, or everything is in vain: later on from here, then from the start.
                self._pause(PAUSES[min(failures, len(PAUSES) - 1)], stop)
                if not batch:
                    self._start()
                idle = 0
                failures += 1

    def _halted(self, stop: Event | None) -> bool:
        self.control.beat()
        return self.control.stopping or (stop is not None and stop.is_set())

    def _pause(self, seconds: float, stop: Event | None) -> None:
        """In short pieces: a handler of signals cannot wake it."""
        end = time.monotonic() + seconds
        while not self._halted(stop) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, NAP))

    def lacking(self) -> dict[str, int]:
        """What those lack that were tried in this pass; from any thread."""
        return dict(self._lacks)

    def done(self) -> dict[str, int]:
        """What left the queue since the start; from any thread."""
        return {"completed": self._done.completed, "improved": self._done.improved}

    def _start(self) -> None:
        self._after = 0
        self._lacks.clear()

    def complete(self, batch: Sequence[Queued]) -> bool:
        """One batch; whether it moved: something is known now that was not, or was erased. Raises
        Unavailable: then it stays in the queue.

        What makes a stage raise stays in the queue as well, and is found by halving the batch, so
        that it costs no other request anything.
        """
        last = batch[-1].sequence
        erased = self._erased(batch)
        if erased:
            self._queue.settle(erased)
            batch = [queued for queued in batch if queued not in erased]
        moved = bool(batch) and self._completed(batch)
        self._after = last
        return moved or bool(erased)

    def _erased(self, batch: Sequence[Queued]) -> list[Queued]:
        """Those of events for which a tombstone stands: no service hears of them any more. An
        erasure leaves one in every store, so the first store that answers knows."""
        ids = {id_of(queued.request) for queued in batch}
        for sink in self._stores.sinks.values():
            with suppress(Unavailable):
                gone = cast("Tombstones", sink).erased(list(ids))
                return [queued for queued in batch if id_of(queued.request) in gone]
        return []

    def _completed(self, batch: Sequence[Queued]) -> bool:
        try:
            mutations = self._mutations([queued.request for queued in batch])
        except (Unavailable, UserError, Damaged):
            raise
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                return self._completed(batch[:middle]) | self._completed(batch[middle:])
            self._give_up(batch[0], error)
            return False
        gained: list[Queued] = []
        vain: list[Queued] = []
        writes: list[Mutation] = []
        for queued, mutation in zip(batch, mutations, strict=True):
            lacks = () if mutation.request is None else mutation.request.lacks
            self._lacks.update(lacks)
            if _gained(queued.request, mutation):
                gained.append(queued)
                writes.append(mutation)
            else:
                vain.append(queued)
        if writes:
            write_all(self._stores, writes)
            self._queue.settle(gained)
        if vain:
            self._queue.failed(vain)
        completed = sum(mutation.request is None for mutation in writes)
        self._done.completed += completed
        self._done.improved += len(writes) - completed
        return bool(writes)

    def _give_up(self, queued: Queued, error: Exception) -> None:
        """Until the next pass: another version, or other settings, may complete it."""
        request = queued.request
        self._lacks.update(request.lacks)
        _log.warning(
            "not_completed",
            kind=kind_of(request.item.event),
            event_id=request.item.event.id,
            error=type(error).__name__,
        )
        self._queue.failed([queued])

    def write(self, requests: Sequence[Request]) -> None:
        """Writes events with what is known of them now; what they lack still is queued. Raises
        Unavailable."""
        if requests:
            write_all(self._stores, self._mutations(requests))

    def note(self, forgotten: int, expired: int) -> None:
        """Counts what was found in the graph."""
        self._done.forgotten += forgotten
        self._done.expired += expired

    def end(self) -> Progress:
        """Lets the queue go and says what was done. Raises Unavailable."""
        self._queue.release()
        return msgspec.structs.replace(
            self._done,
            left=self._queue.backlog(),
            lacks=self.lacking(),
            usage=self.usage(),
        )

    def _mutations(self, requests: Sequence[Request]) -> list[Mutation]:
        from stages.extract import mutation_of

        known = self._with_sides(self._with_vectors(requests))
        enriched = self._lookup.complete(known)
        return [
            mutation_of(item, self._pipeline, request.log_time)
            for item, request in zip(enriched, known, strict=True)
        ]

    def _with_vectors(self, requests: Sequence[Request]) -> list[Request]:
        owing = [n for n, request in enumerate(requests) if request.item.vector is None]
        chunk: Chunk[Embedded] = Chunk(_PARTITION, [requests[n].item for n in owing])
        found = dict(zip(owing, self._embed(chunk).passed.items, strict=True))
        return [
            msgspec.structs.replace(request, item=found[n]) if n in found else request
            for n, request in enumerate(requests)
        ]

    def _with_sides(self, requests: Sequence[Request]) -> list[Request]:
        """What the join store did not know of a response's prompt, or has forgotten since, stands
        in the graph where the prompt has come."""
        sides: dict[str, PromptSide | None] = {}
        known = []
        for request in requests:
            event = request.item.event
            if not isinstance(event, ScreenedResponse) or request.side is not None:
                known.append(request)
                continue
            if event.prompt_id not in sides:
                sides[event.prompt_id] = prompt_side(self._stores.views.graph, event.prompt_id)
            side = sides[event.prompt_id]
            known.append(msgspec.structs.replace(request, side=side) if side else request)
        return known


def id_of(request: Request) -> RecordId:
    """The event that wants to be completed."""
    return RecordId(kind_of(request.item.event), request.item.event.id)


def _gained(request: Request, mutation: Mutation) -> bool:
    """Whether it lacks less than before, and nothing else instead: what was not lacking stands in
    the stores, and a record without it may have the same version."""
    left = mutation.request
    return (
        left is None
        or set(left.lacks) < set(request.lacks)
        or (left.side is not None and request.side is None)
    )
