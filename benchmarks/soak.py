"""A long run of one worker without models: memory, descriptors and threads over time.

``python -m benchmarks.soak [--events N] [--config FILE]``: not one of the benchmarks of ``make
bench``, for it takes long. With a settings file the log and the stores are those that it names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psutil
import typer

from benchmarks import corpus, events, machine
from flows.filelog import LogWriter
from flows.health import read_health

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


def main(
    count: Annotated[int, typer.Option("--events", help="How many events.")] = 1_000_000,
    config: Annotated[Path | None, typer.Option(help="A settings file.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of public texts.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between two samples.")] = 5.0,
) -> None:
    """Feed a worker and keep its curve in benchmarks/results/soak.json."""
    texts = corpus.load(data).pieces(CHARACTERS, BATCH)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "flows.cli.app", "run", "--follow", "--data", name]
        if config is not None:
            command += ["--config", str(config)]
        environment = os.environ | WITHOUT_MODELS
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(command, cwd=machine.ROOT, env=environment, stderr=log)
        try:
            samples = list(_curve(worker, folder, texts, count, every))
        finally:
            worker.terminate()
            worker.wait(60)
    result = _result(samples)
    whole = {"name": "soak", **machine.facts(), "result": result}
    path = Path(__file__).with_name("results") / "soak.json"
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(table(result))


def _curve(
    worker: subprocess.Popen[bytes], folder: Path, texts: list[str], count: int, every: float
) -> Iterator[Sample]:
    process = psutil.Process(worker.pid)
    writer = LogWriter(folder / "log")
    started, sampled, appended, taken = time.perf_counter(), 0.0, 0, 0
    while taken < count:
        if worker.poll() is not None:
            told = (folder / "worker.log").read_text()[-2_000:]
            raise RuntimeError(f"the worker ended with {worker.returncode}: {told}")
        health = read_health(folder)
        taken = health.events if health is not None else 0
        now = time.perf_counter() - started
        if now - sampled >= every:
            sampled = now
            yield Sample(
                round(now, 1), taken, round(process.memory_info().rss / 2**20, 1),
                process.num_fds(), process.num_threads(),
            )  # fmt: skip
        if appended < count and appended - taken < AHEAD:
            number = appended // BATCH
            part = [f"{number} {text}" for text in texts]
            writer.append(
                [
                    events.record(topic, event, events.milliseconds(event))
                    for topic, event in events.conversations(part, number)
                ]
            )
            appended += len(part)
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
    """The figures as Markdown."""
    rss, files, threads = result["rss_mib"], result["descriptors"], result["threads"]
    return "\n".join(
        [
            f"| {result['events']:,} events in {result['seconds']:,.0f} s | early | late |",
            "|---|---|---|",
            f"| MiB resident (greatest {rss['greatest']}) | {rss['early']} | {rss['late']} |",
            f"| open descriptors | {files['early']} | {files['late']} |",
            f"| threads | {threads['early']} | {threads['late']} |",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
