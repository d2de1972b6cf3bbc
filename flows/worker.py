"""The worker process: everything built from the settings, run until the end or a signal."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from flows import ingest
from flows.barrier import BarrierSink
from flows.bus import open_bus
from flows.claims import CountedClaims
from flows.control import Control
from flows.delivery import LetterWriter, StoreWriter
from flows.health import STUCK_SECONDS, Health, assess, health_pages, serve_pages
from flows.heap import quiet_heap
from flows.isolation import Alarm, Guard, Screen, Watchdog
from flows.journal import Journal
from flows.keys import Keys, load_keys
from flows.lock import worker_lock
from flows.member import member_folder, suspects_file
from flows.metrics import Metrics
from flows.pipeline import Pipeline, build_pipeline
from flows.reconcile import reconciling
from flows.requests import RequestWriter
from flows.sampling import Display, HealthFile, Sampler
from flows.settings import Settings, load_settings
from flows.source import LogSource, Reading, Settle, Span
from flows.stats import RunStats, RunSummary
from flows.stopping import EXIT_HUNG, end, signals
from flows.stores import SELECT, Stores, open_stores
from flows.tracing import Tracer, open_tracer
from schemas.chunk import Outcome
from schemas.failures import Rejected
from schemas.ports import Unavailable
from schemas.records import Store

WATCHDOG_GRACE = 5.0

Build = Callable[[Settings, Keys, Stores], Pipeline]
T = TypeVar("T")

_log = structlog.get_logger("worker")


class Prepared(msgspec.Struct, frozen=True):
    """A worker that is ready to run."""

    flow: Dataflow
    control: Control
    sampler: Sampler
    stats: RunStats
    metrics_port: int | None


def run(
    settings: Settings,
    *,
    follow: bool | None = None,
    display: Display | None = None,
    build: Build = build_pipeline,
    accept_gap: bool = False,
    span: Span | None = None,
    member: int | None = None,
) -> RunSummary:
    """Reads the log into the stores: to its end, or with ``follow`` until SIGTERM or SIGINT.

    ``member``: its number in a supervised group; it then has a folder of its own in the data
    folder. ``span``: the part of the log in Kafka that is read. ``accept_gap``: goes on behind
    offsets that Kafka has lost; without, such a partition stands. ``display`` is called a few times
    a second from another thread. Call it from the main thread: signals and time budgets work only
    there. When it returns, everything read is committed. Raises UserError (settings, log, folder in
    use), Unavailable (a store could not be written when the worker was asked to stop) and Damaged.
    Ends the process with ``EXIT_STOP_DEADLINE`` when an orderly stop takes too long (with 0 where
    everything is committed and only the closing of what hangs is left) and with
    ``EXIT_HUNG`` when an event cannot be interrupted (:mod:`flows.stopping`); both leave the
    offsets where they were.
    """
    with prepared(
        settings,
        follow=follow,
        display=display,
        build=build,
        accept_gap=accept_gap,
        span=span,
        member=member,
        quiet=True,
    ) as worker:
        cli_main(  # type: ignore[no-untyped-call]
            worker.flow,
            workers_per_process=1,
            epoch_interval=timedelta(seconds=settings.worker.epoch_seconds),
        )
        if worker.control.failure is not None:
            raise worker.control.failure
        worker.control.finished = True
        worker.sampler.close()
        return worker.sampler.summary()


@contextmanager
def prepared(
    settings: Settings,
    *,
    follow: bool | None = None,
    display: Display | None = None,
    build: Build = build_pipeline,
    accept_gap: bool = False,
    span: Span | None = None,
    member: int | None = None,
    quiet: bool = False,
) -> Iterator[Prepared]:
    """Everything a worker needs, closed in reverse order at the end."""
    with ExitStack() as stack:
        data, suspects = settings.data, None
        if member is not None:
            data, suspects = member_folder(data, member), suspects_file(data)
        stack.enter_context(worker_lock(data))
        # bytewax starts a web server wherever this variable is set at all.
        os.environ.pop("BYTEWAX_DATAFLOW_API_ENABLED", None)
        control = Control(quiet=quiet)
        stack.enter_context(signals(control, settings.worker.stop_seconds))
        metrics, stats = Metrics(ingest.STAGES), _stats(settings)
        limit = STUCK_SECONDS + settings.worker.time_budget_seconds

        port: int | None = None

        def health() -> Health:
            return assess(control, stats.summary(), limit=limit, port=port)

        port = _serve(settings, metrics, health, stack)
        stack.callback(HealthFile(data, health).close)
        keys = worker_keys(settings)
        stores = stack.enter_context(open_stores(settings, keys, member))
        claims = CountedClaims(stores.claims, control, metrics)
        stores = msgspec.structs.replace(stores, claims=claims)
        pipeline = build(settings, keys, stores)
        stack.callback(pipeline.close)
        stack.enter_context(quiet_heap())
        names = tuple(stage.name for stage in pipeline.stages)
        observers = Observers(stats, metrics)
        tracer = open_tracer(settings.tracing)
        if tracer is not None:
            stack.callback(tracer.close)

        journal = Journal(data / "inflight", names, suspects)
        stack.callback(journal.close)
        bus = open_bus(settings, keys, stores.offsets, span)
        stack.callback(bus.close)
        patient = partial(patiently, control) if settings.backends.log == "kafka" else _at_once
        journal.learn(patient(bus.committed))
        alarm = Alarm(settings.worker.time_budget_seconds)
        stack.callback(alarm.close)
        watchdog = Watchdog(alarm, journal, WATCHDOG_GRACE, _end_hung)
        stack.callback(watchdog.close)

        patiently(control, stores.check)
        part = patient(
            lambda: bus.source(
                _reading(settings, journal, follow), control, sealer(stores), accept_gap=accept_gap
            )
        )
        stack.callback(part.close)
        sampler = Sampler(
            lag=bus.lag,
            stores=stores,
            stats=stats,
            metrics=metrics,
            control=control,
            hit_rates=pipeline.hit_rates,
            usage=pipeline.usage,
            every=settings.metrics.sample_seconds,
            display=display,
        )
        stack.callback(sampler.close)
        guards = {
            stage.name: Guard(stage, number, journal, alarm, control, observers, tracer)
            for number, stage in enumerate(pipeline.stages)
        }
        parts = ingest.Parts(
            source=LogSource(part),
            screen=Screen(journal.isolated, tracer),
            guards=guards,
            outputs=outputs(settings, stores, control, observers, tracer),
        )
        if settings.delivery.reconcile and (settings.worker.follow if follow is None else follow):
            stack.enter_context(reconciling(stores, control))
        yield Prepared(ingest.build(parts), control, sampler, stats, port)


def patiently(control: Control, action: Callable[[], T]) -> T:
    """What a server answers, which may come up after the worker: until then it waits, and says so
    in its health and its log. Raises Unavailable when it is asked to stop meanwhile."""
    troubled: str | None = None
    while True:
        try:
            answer = action()
        except Unavailable as error:
            if error.what != troubled:
                _log.warning("waiting", what=error.what, code=error.code)
                if troubled is not None:
                    control.trouble(troubled, None)
            troubled = error.what
            control.trouble(troubled, error.code)
            control.beat()
            if control.stopping or control.wait(1.0):
                raise
        else:
            if troubled is not None:
                control.trouble(troubled, None)
            return answer


def _at_once(action: Callable[[], T]) -> T:
    return action()


def worker_keys(settings: Settings) -> Keys:
    """The keys of a worker. On one machine they are made at the first start; the members of a
    group, which all need the same, have to be given them (UserError), unless dead letters are to be
    kept in plaintext."""
    shared = settings.backends.log == "kafka" and not settings.dlq.plaintext
    return load_keys(settings.data, create=not shared)


def outputs(
    settings: Settings,
    stores: Stores,
    control: Control,
    observers: Observers,
    tracer: Tracer | None = None,
) -> dict[str, BarrierSink[Any]]:
    """The four stores, the dead letters and the enrichment requests, each behind the barrier."""
    section = settings.delivery
    made: dict[str, BarrierSink[Any]] = {
        store: BarrierSink(
            StoreWriter(
                sink, SELECT[store], stores.parking, stores.letters, control, observers,
                section.delivery, tracer,
            ),
            control,
            section.threads,
            section.depth,
            lambda chunk: len(chunk.items),
            ahead=True,
        )
        for store, sink in stores.sinks.items()
    }  # fmt: skip
    letters = LetterWriter(stores.letters, stores.claims, control, observers)
    made[letters.name] = BarrierSink(letters, control, 1, section.depth, len, ahead=True)
    requests = RequestWriter(stores.requests, control)
    made[requests.name] = BarrierSink(requests, control, 1, section.depth, len, ahead=True)
    return made


def sealer(stores: Stores) -> Callable[[], Settle]:
    """What goes with each seal: claims and joins are written behind the stages."""

    def seal() -> Settle:
        mark = stores.joins.seal()

        def settle() -> None:
            stores.joins.confirm(mark)
            stores.claims.flush()
            stores.joins.flush()

        return settle

    return seal


class Observers:
    """Tells the statistics and the metrics what happened."""

    def __init__(self, stats: RunStats, metrics: Metrics) -> None:
        self._both = (stats, metrics)

    def stage(self, name: str, taken: int, outcome: Outcome[Any], seconds: float) -> None:
        for one in self._both:
            one.stage(name, taken, outcome, seconds)

    def written(self, store: Store, status: str, count: int) -> None:
        for one in self._both:
            one.written(store, status, count)

    def write_took(self, store: Store, seconds: float) -> None:
        for one in self._both:
            one.write_took(store, seconds)

    def dead(self, rejected: Sequence[Rejected]) -> None:
        for one in self._both:
            one.dead(rejected)


def standalone() -> Dataflow:
    """The dataflow for ``python -m bytewax.run flows.ingest``, closed when the process ends.

    The settings file is the one in ``MEMORY_GRAPH_CONFIG``. An epoch then lasts as long as
    bytewax's ``-s`` says, 10 seconds by default.
    """
    config = os.environ.get("MEMORY_GRAPH_CONFIG")
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(prepared(load_settings(Path(config) if config else None))).flow


def _reading(settings: Settings, journal: Journal, follow: bool | None) -> Reading:
    worker = settings.worker
    return Reading(
        follow=worker.follow if follow is None else follow,
        limit=worker.chunk_events,
        limit_bytes=worker.chunk_bytes,
        work=worker.chunk_seconds,
        poll=settings.log.poll_seconds,
        careful=journal.careful,
    )


def _stats(settings: Settings) -> RunStats:
    return RunStats(settings.metrics.rejected_window, settings.metrics.rejected_share)


def _serve(
    settings: Settings, metrics: Metrics, health: Callable[[], Health], stack: ExitStack
) -> int | None:
    server = serve_pages(settings, health_pages(health, metrics.page(health)))
    if server is None:
        return None
    stack.callback(server.close)
    return server.port


def _end_hung() -> None:
    end("event_hung", EXIT_HUNG)
