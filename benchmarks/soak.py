"""A long run of one worker without models: memory, descriptors and threads over time.

``python -m benchmarks.soak [--events N] [--embedded]``: no part of ``make bench``,
for it takes long. The log and the stores are real servers, started for it; with ``--embedded`` they
are files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import msgspec
import psutil
import typer

from benchmarks import backlog, corpus, events, machine
from benchmarks.readme import write_readme
from benchmarks.servers import MEMORY_GRAPH, running
from flows.filelog import LogWriter
from flows.health import read_health
from sinks.kafka.settings import KafkaSettings

BATCH = 2_000
AHEAD = 20_000
"""Events appended before the worker has taken them: the log never runs dry and never runs away."""
CHARACTERS = 1_000
WITHOUT_MODELS = {
    "MEMORY_GRAPH_EMBED__MODE": "off",
    "MEMORY_GRAPH_PII__DETECT__NAMES": "false",
}


class Sample(msgspec.Struct, frozen=True):
    """The worker at a moment: seconds since its start, events taken, MiB resident, open
    descriptors, threads."""

    seconds: float
    events: int
    rss_mib: float
    descriptors: int
    threads: int


Feed = Callable[[int], int]
"""Appends the conversations of this number to the log; answers how many events they are."""


def main(
    count: Annotated[int, typer.Option("--events", help="How many events.")] = 1_000_000,
    embedded: Annotated[bool, typer.Option("--embedded", help="Files, no servers.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of public texts.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between two samples.")] = 5.0,
) -> None:
    """Feed a worker and keep its curve in benchmarks/results/soak.json."""
    source = corpus.load(data)
    texts = source.pieces(CHARACTERS, BATCH)
    before = machine.load()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="soak-")))
        log = stack.enter_context((folder / "worker.log").open("wb"))
        begin = ("run", "--follow", "--data", str(folder))
        if embedded:
            feed = _into_files(folder / "log", texts)
            command = [*MEMORY_GRAPH, *begin]
            environment = os.environ | WITHOUT_MODELS
            worker = subprocess.Popen(command, cwd=machine.ROOT, env=environment, stderr=log)
        else:
            place = stack.enter_context(running()).installation("soak", variables=WITHOUT_MODELS)
            with place.signed_in() as settings:
                feed = _into_kafka(settings.kafka, texts)
            worker = place.start(*begin, stderr=log)
        try:
            samples = list(_curve(worker, folder, feed, count, every))
        finally:
            worker.terminate()
            worker.wait(60)
    stores = (
        "files" if embedded else "Kafka, Neo4j, Pinecone (fake), InfluxDB, Elasticsearch, Redis"
    )
    result = {"stores": stores, **_result(samples)}
    whole = {
        "name": "soak",
        **machine.facts(),
        "load": {"before": before, "after": machine.load()},
        "texts": source.source,
        "result": result,
    }
    results = Path(__file__).with_name("results")
    (results / "soak.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    write_readme(results)


def _texts(texts: list[str], number: int) -> list[str]:
    return [f"{number} {text}" for text in texts]


def _into_files(folder: Path, texts: list[str]) -> Feed:
    writer = LogWriter(folder)

    def feed(number: int) -> int:
        waiting = events.conversations(_texts(texts, number), number)
        records = [events.record(t, e, events.milliseconds(e)) for t, e in waiting]
        writer.append(records)
        return len(records)

    return feed


def _into_kafka(settings: KafkaSettings, texts: list[str]) -> Feed:
    def feed(number: int) -> int:
        count = len(texts) // 2 * 2
        backlog.produce(settings, events.conversations(_texts(texts, number), number), count)
        return count

    return feed


def _curve(
    worker: subprocess.Popen[bytes], folder: Path, feed: Feed, count: int, every: float
) -> Iterator[Sample]:
    process = psutil.Process(worker.pid)
    started, sampled, appended, taken, number = time.perf_counter(), 0.0, 0, 0, 0
    while taken < count:
        if worker.poll() is not None:
            told = (folder / "worker.log").read_text()[-2_000:]
            raise RuntimeError(f"the worker ended with {worker.returncode}: {told}")
        health = read_health(folder)
        taken = health.events if health is not None else 0
        now = time.perf_counter() - started
        if now - sampled >= every:
            sampled = now
            sample = Sample(
                round(now, 1), taken, round(process.memory_info().rss / 2**20, 1),
                process.num_fds(), process.num_threads(),
            )  # fmt: skip
            print(*msgspec.structs.astuple(sample), file=sys.stderr, flush=True)
            yield sample
        if appended < count and appended - taken < AHEAD:
            appended += feed(number)
            number += 1
        else:
            time.sleep(0.2)


def _result(samples: list[Sample]) -> dict[str, Any]:
    """The last three quarters against one another: the first has the caches filling."""
    settled = samples[len(samples) // 4 :]
    half = len(settled) // 2
    early, late = settled[:half], settled[half:]
    return {
        "events": samples[-1].events,
        "seconds": samples[-1].seconds,
        "rss_mib": {
            "first": samples[0].rss_mib,
            "early": _mean([s.rss_mib for s in early]),
            "late": _mean([s.rss_mib for s in late]),
            "greatest": max(s.rss_mib for s in samples),
        },
        "descriptors": {"early": max(s.descriptors for s in early), "late": late[-1].descriptors},
        "threads": {"early": max(s.threads for s in early), "late": late[-1].threads},
        "curve": [msgspec.structs.astuple(s) for s in samples[:: max(1, len(samples) // 100)]],
    }


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 1)


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown: the curve at every tenth of the events."""
    curve = [Sample(*values) for values in result["curve"]]
    marks = [result["events"] * tenth / 10 for tenth in range(1, 11)]
    chosen = [min(curve, key=lambda s: abs(s.events - mark)) for mark in marks]
    return "\n".join(
        [
            f"| {result['events']:,} events: {result['stores']} | seconds | MiB resident | "
            "open descriptors | threads |",
            "|---|---|---|---|---|",
            *(
                f"| {s.events:,} | {s.seconds:,.0f} | {s.rss_mib:,.0f} | {s.descriptors} | "
                f"{s.threads} |"
                for s in chosen
            ),
        ]
    )


if __name__ == "__main__":
    typer.run(main)
