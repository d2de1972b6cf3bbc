"""Proves ranges of the log, batch by batch, in memory that does not grow with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain

from flows.keys import load_keys
from flows.pipeline import build_pipeline
from flows.prove.judge import Judge, Judged, Rules
from flows.prove.log import BATCH, BATCH_BYTES, FileLogView, LogView
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
LOST = Verdict("unaccounted", "expired_unread")
SHRANK = Verdict("unaccounted", "log_shrank")
GAP = Verdict("unaccounted", "log_gap")

DOUBTFUL = 1_000
"""Records that are judged once more at the end; where there are more, the moment is not why."""

_DAY = 86_400_000_000
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
    settle: float = 0.0,
) -> Report:
    """Accounts for the offsets from ``first`` up to, not including, ``end`` (None: where each
    partition begins and ends) of every partition of ``topics``.

    Works beside a running worker: what it has committed when this begins is judged, what comes
    behind is waiting for it. What does not add up is judged once more at the end, at least
    ``settle`` seconds later: a worker may have been between two stores. ``deep`` derives what is
    written again. ``progress`` is called after each batch. Raises UserError (also where there is no
    log), Unavailable and Damaged.
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
        rules = Rules(
            settings.embed.mode != "off", settings.lookup.join_retention_ms, _points_since(settings)
        )
        validate = Validate(settings.validate_)
        judge = Judge(stores.sinks, stores.letters, waiting, log, validate, rules)
        stack.callback(judge.close)
        rederiver = Rederiver(settings, keys, stores, log, build) if deep else None
        if rederiver is not None:
            stack.callback(rederiver.close)
        bounds = log.bounds()
        if not bounds:
            raise UserError(
                f"There is no event log in {settings.log_dir}. Name its folder with --data."
            )
        waiting.refresh()
        wanted = [(p, b) for p, b in sorted(bounds.items()) if p.topic in topics]
        spans = [(p, b, _span(p, b, first, end)) for p, b in wanted]
        report.ranges = [span for _, _, span in spans]
        parts = (_partition(log, p, b, span, report) for p, b, span in spans)
        doubtful = Doubtful()
        for records in _full(chain.from_iterable(parts)):
            _batch(judge, rederiver, records, report, doubtful)
            report.seconds = time.monotonic() - started
            if progress is not None:
                progress(report)
        doubtful.wait(settle)
        for records in _full([doubtful.records]):
            _batch(judge, rederiver, records, report)
    report.exceptions.sort(key=lambda found: (found.topic, found.partition, found.offset))
    report.seconds = time.monotonic() - started
    return report


class Doubtful:
    """Records that did not add up, few of them and not too large to be kept."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self._bytes = 0
        self._last = 0.0

    def keep(self, record: LogRecord) -> bool:
        """False where there is no more room."""
        if len(self.records) >= DOUBTFUL or self._bytes + record.original.size > BATCH_BYTES:
            return False
        self.records.append(record)
        self._bytes += record.original.size
        self._last = time.monotonic()
        return True

    def wait(self, seconds: float) -> None:
        """Until the last one was kept so long ago."""
        if self.records:
            time.sleep(max(0.0, self._last + seconds - time.monotonic()))


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


def _points_since(settings: Settings) -> int | None:
    """Event times (µs) before this one have left the series, or may have."""
    days = settings.influxdb.retention_days
    if settings.backends.timeseries != "influxdb" or days is None:
        return None
    return time.time_ns() // 1_000 - days * _DAY


def _span(partition: Partition, found: Bounds, first: int | None, end: int | None) -> Proved:
    """A range may begin before the log does; it ends where the log does, or did when it was read.
    By default it begins with what was never read, where that has expired."""
    last = max(found.end, found.committed)
    last = last if end is None else min(end, last)
    begin = min(found.first, found.committed) if first is None else first
    return Proved(partition.topic, partition.number, min(begin, last), last)


def _partition(
    log: LogView, partition: Partition, found: Bounds, span: Proved, report: Report
) -> Iterator[Sequence[LogRecord]]:
    """The batches to judge; accounts for all other offsets of the range itself."""
    begin = min(max(span.first, found.first), span.end)
    unread = max(span.first, min(begin, found.committed))
    report.add_range(partition, EXPIRED, span.first, unread)
    report.add_range(partition, LOST, unread, begin)
    there = min(span.end, found.end)
    judged_end = max(begin, min(there, found.committed))
    following = begin
    for records in log.read(partition, begin, judged_end):
        for record in records:
            _left_out(log, partition, following, record.origin.offset, report)
            following = record.origin.offset + 1
        yield records
    _left_out(log, partition, following, judged_end, report)
    report.add_range(partition, UNREAD, judged_end, there)
    report.add_range(partition, SHRANK, max(begin, there), span.end)


def _left_out(log: LogView, partition: Partition, first: int, end: int, report: Report) -> None:
    """Accounts for offsets that the log did not hand out."""
    if first >= end:
        return
    start = min(max(first, log.start(partition)), end)
    report.add_range(partition, EXPIRED, first, start)  # While it was read: it had been committed.
    report.add_range(partition, CONTROL if log.leaves_out else GAP, start, end)


def _full(parts: Iterable[Sequence[LogRecord]]) -> Iterator[list[LogRecord]]:
    """Batches worth asking servers for, of several partitions where one has few records, and not
    too large to be held with what the stores hold of them."""
    full: list[LogRecord] = []
    size = 0
    for record in chain.from_iterable(parts):
        if full and (len(full) == BATCH or size + record.original.size > BATCH_BYTES):
            yield full
            full, size = [], 0
        full.append(record)
        size += record.original.size
    if full:
        yield full


def _batch(
    judge: Judge,
    rederiver: Rederiver | None,
    records: Sequence[LogRecord],
    report: Report,
    doubtful: Doubtful | None = None,
) -> None:
    """Judges a batch; what does not add up is left to ``doubtful`` where it has room."""
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
        if (
            doubtful is not None
            and verdicts[origin].state == "unaccounted"
            and doubtful.keep(one.record)
        ):
            continue
        partition = Partition(origin.topic, origin.partition)
        report.add(partition, origin.offset, verdicts[origin])


def _comparable(one: Judged) -> bool:
    """Written by this very delivery, as it is to stay until its prompt comes."""
    return one.own and (
        one.verdict.state in ("written", "orphan") or one.verdict == Verdict("waiting", "prompt")
    )
