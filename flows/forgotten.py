"""Responses that the join store has forgotten: their prompts are found in the graph, they
themselves in the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import structlog

from flows.enriching import Enricher
from flows.prove.log import LogView
from flows.settings import Settings
from flows.sides import prompt_side
from flows.stores import Stores
from schemas.chunk import Chunk, Stage
from schemas.items import Embedded, PromptSide, Request
from schemas.log import LogRecord, Partition
from schemas.queries import GraphQueries, Node
from schemas.records import Stamp

BATCH = 200
STATES = ("waiting", "orphan")

_log = structlog.get_logger("enrich")


class Forgotten(msgspec.Struct):
    """``completed``; ``expired``: the log does not hold the response any more; ``alone``: its
    prompt has not come."""

    completed: int = 0
    expired: int = 0
    alone: int = 0


def complete_forgotten(
    settings: Settings, stores: Stores, log: LogView, enricher: Enricher, pii: Stage[Any, Embedded]
) -> Forgotten:
    """Completes every response that waits or is an orphan though its prompt is in the graph.

    That happens where the join store was lost, or a prompt came after ``join_retention_hours``. The
    response is read from the log again, screened as it was, and written as a completion: what it
    would have been, with the orphan fact if it was one. Safe beside a running worker. Raises
    Unavailable.
    """
    from stages.text import TextStage
    from stages.validate.stage import Validate

    stages: tuple[Stage[Any, Any], ...] = (Validate(settings.validate_), TextStage(), pii)
    result = Forgotten()
    graph = stores.views.graph
    for batch in _batches(graph, result):
        stamps = graph.owners([("Response", node.key) for node, _ in batch])
        requests = []
        for node, side in batch:
            stamp = stamps.get(("Response", node.key))
            record = None if stamp is None else _record(log, stamp)
            item = None if record is None else _screened(stages, record)
            if item is None or item.event.id != node.key:
                result.expired += 1
            else:
                orphan = node.properties["state"] == "orphan"
                requests.append(Request(item, ("embedding",), side, orphan))
        enricher.write(requests)
        result.completed += len(requests)
    return result


def _batches(graph: GraphQueries, result: Forgotten) -> Iterator[Sequence[tuple[Node, PromptSide]]]:
    """Those whose prompt has come; counts the others."""
    batch: list[tuple[Node, PromptSide]] = []
    for state in STATES:
        for node in graph.find("Response", {"state": state}):
            side = prompt_side(graph, node.properties["promptId"])
            if side is None:
                result.alone += 1
                continue
            batch.append((node, side))
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _record(log: LogView, stamp: Stamp) -> LogRecord | None:
    origin = stamp.origin
    return log.at(Partition(origin.topic, origin.partition), origin.offset)


def _screened(stages: Sequence[Stage[Any, Any]], record: LogRecord) -> Embedded | None:
    """The event before it is embedded; None where it does not come out, or makes a stage raise."""
    origin = record.origin
    chunk: Chunk[Any] = Chunk(
        Partition(origin.topic, origin.partition), (record,), origin.timestamp
    )
    try:
        for stage in stages:
            chunk = stage(chunk).passed
    except Exception as error:
        _log.warning("not_read", offset=origin.offset, error=type(error).__name__)
        return None
    item: Embedded | None = chunk.items[0] if chunk.items else None
    return None if item is None else Embedded(item.event)
