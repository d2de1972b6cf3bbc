"""Proves ranges of the log, batch by batch, in memory that does not grow with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain

from flows.keys import load_keys
from flows.pipeline import build_pipeline
from flows.prove.judge import Judge, Judged, Rules
from flows.prove.log import BATCH, FileLogView, LogView
from flows.prove.rederive import Build, Rederiver
from flows.prove.report import Bounds, Proved, Report, Verdict
from flows.prove.waiting import Waiting
from flows.settings import Settings
from flows.stores import Stores, open_stores
from schemas.events import TOPICS
from schemas.failures import UserError
from schemas.log import LogRecord, Partition
from stages.validate.stage import Validate

EXPIRED = Verdict("expired")
CONTROL = Verdict("control")
UNREAD = Verdict("waiting", "worker")

Progress = Callable[[Report], None]


def prove(
    settings: Settings,
    *,
    topics: Sequence[str] = tuple(TOPICS),
    first: int | None = None,
    end: int | None = None,
    deep: bool = False,
    build: Build = build_pipeline,
    progress: Progress | None = None,
) -> Report:
    """Accounts for the offsets from ``first`` up to, not including, ``end`` (None: where each
    partition begins and ends) of every partition of ``topics``.

    Works beside a running worker: what it has committed when this begins is judged, what comes
    behind is waiting for it. ``deep`` derives what is written again. ``progress`` is called after
    each batch. Raises UserError, Unavailable and Damaged.
    """
    unknown = set(topics) - set(TOPICS)
    if unknown:
        raise UserError(f"There is no topic {min(unknown)}. There are: {', '.join(TOPICS)}.")
    started = time.monotonic()
    report = Report(deep=deep)
    with ExitStack() as stack:
        keys = load_keys(settings.data, create=False)
        stores = stack.enter_context(open_stores(settings, keys))
        log = stack.enter_context(log_view(settings, stores))
        waiting = Waiting(stores.parking, stores.requests)  # type: ignore[arg-type]
        stack.callback(waiting.close)
        rules = Rules(settings.embed.mode != "off", settings.lookup.join_retention_ms)
        validate = Validate(settings.validate_)
        judge = Judge(stores.sinks, stores.letters, waiting, log, validate, rules)
        stack.callback(judge.close)
        rederiver = Rederiver(settings, keys, stores, log, build) if deep else None
        if rederiver is not None:
            stack.callback(rederiver.close)
        bounds = log.bounds()
        waiting.refresh()
        wanted = [(p, b) for p, b in sorted(bounds.items()) if p.topic in topics]
        spans = [(p, b, _span(p, b, first, end)) for p, b in wanted]
        report.ranges = [span for _, _, span in spans]
        parts = (_partition(log, p, b, span, report) for p, b, span in spans)
        for records in _full(chain.from_iterable(parts)):
            _batch(judge, rederiver, records, report)
            report.seconds = time.monotonic() - started
            if progress is not None:
                progress(report)
    report.seconds = time.monotonic() - started
    return report


@contextmanager
def log_view(settings: Settings, stores: Stores) -> Iterator[LogView]:
    """The log that the settings name."""
    view: LogView
    if settings.backends.log == "kafka":
        from flows.prove.kafkalog import KafkaLogView

        view = KafkaLogView(settings.kafka)
    else:
        assert stores.offsets is not None
        view = FileLogView(settings.log_dir, stores.offsets)
    try:
        yield view
    finally:
        view.close()


def _span(partition: Partition, found: Bounds, first: int | None, end: int | None) -> Proved:
    """A range may begin before the log does; it ends where the log does."""
    last = found.end if end is None else min(end, found.end)
    begin = found.first if first is None else min(first, last)
    return Proved(partition.topic, partition.number, begin, last)


def _partition(
    log: LogView, partition: Partition, found: Bounds, span: Proved, report: Report
) -> Iterator[Sequence[LogRecord]]:
    """The batches to judge; accounts for all other offsets of the range itself."""
    begin = max(span.first, found.first)
    report.add_many(partition, EXPIRED, min(begin, span.end) - span.first)
    judged_end = max(begin, min(span.end, found.committed))
    following = begin
    for records in log.read(partition, begin, judged_end):
        last = records[-1].origin.offset
        report.add_many(partition, CONTROL, last + 1 - following - len(records))
        following = last + 1
        yield records
    report.add_many(partition, CONTROL, judged_end - following)
    report.add_many(partition, UNREAD, span.end - max(judged_end, begin))


def _full(parts: Iterable[Sequence[LogRecord]]) -> Iterator[list[LogRecord]]:
    """Batches worth asking servers for, of several partitions where one has few records."""
    full: list[LogRecord] = []
    for part in parts:
        full += part
        while len(full) >= BATCH:
            yield full[:BATCH]
            full = full[BATCH:]
    if full:
        yield full


def _batch(
    judge: Judge, rederiver: Rederiver | None, records: Sequence[LogRecord], report: Report
) -> None:
    judged, held = judge.batch(records)
    verdicts = {one.record.origin: one.verdict for one in judged}
    if rederiver is not None:
        chosen = [one for one in judged if _comparable(one)]
        for origin, outcome in rederiver.compare(chosen, held).items():
            if isinstance(outcome, Verdict):
                verdicts[origin] = outcome
            elif outcome:
                report.skipped(outcome)
            else:
                report.compared += 1
    for one in judged:
        origin = one.record.origin
        partition = Partition(origin.topic, origin.partition)
        report.add(partition, origin.offset, verdicts[origin])


def _comparable(one: Judged) -> bool:
    """Written by this very delivery, as it is to stay until its prompt comes."""
    return one.own and (
        one.verdict.state in ("written", "orphan") or one.verdict == Verdict("waiting", "prompt")
    )
