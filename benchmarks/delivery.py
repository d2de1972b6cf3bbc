"""From the append to Kafka to all four confirmations, on the real servers, in an open loop."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks import bareloop, events
from benchmarks.commits import Commits, Place
from benchmarks.corpus import Corpus
from benchmarks.machine import ROOT
from benchmarks.openloop import Sender, Sent
from benchmarks.servers import Installation, Servers, running
from benchmarks.soak import WITHOUT_MODELS
from schemas.records import STORES

CHARACTERS = 1_000
WARM = 600
PROBE = int(os.environ.get("PROBE", "3000"))
PROBE_MODELS = PROBE // 10
SECONDS = float(os.environ.get("SECONDS", "20"))
LOAD = float(os.environ.get("LOAD", "0.7"))
PERCENTILES = (50, 95, 99)
PATIENCE = 180.0
Milliseconds = dict[str, float]


class Reader(msgspec.Struct):
    """A process that reads the log into the stores, and the commits of its group."""

    process: subprocess.Popen[str]
    commits: Commits

    def await_all(self, sent: Sequence[Sent]) -> None:
        """Until the group has committed behind these events. Raises RuntimeError."""
        ends: dict[Place, int] = {}
        for one in sent:
            place = one.topic, one.partition
            ends[place] = max(one.offset, ends.get(place, -1))
        deadline = time.monotonic() + PATIENCE
        while not self.commits.have(ends):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{len(sent)} events were not committed")
            time.sleep(0.2)
            self.commits.catch_up()

    def end(self) -> dict[tuple[str, int, int], tuple[int, float]]:
        """Ends it; answers of each record how many stores confirmed it, and when the last did."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        if self.process.returncode:
            raise RuntimeError(f"the reader ended with {self.process.returncode}")
        return {(t, p, o): (stores, at) for t, p, o, stores, at in json.loads(out)}


def measure(corpus: Corpus) -> dict[str, Any]:
    """A worker without models (vectors are made up, so that all four stores get a record of every
    event), one with everything, and a bare loop over the same servers at the first one's rate.

    Of each worker, :data:`PROBE` events appended at once give the capacity: from the first
    acknowledgement to the last commit. Then events are due at ``LOAD`` of it, at moments fixed
    beforehand, and all times count from these. ``confirmed``: the call that wrote the event's
    record into the last of the four stores has returned, as the worker's process sees it.
    ``committed``: the broker has stored an offset of the group behind the event, read afterwards
    from the broker's own log; the event will then not be read again. ``last_quarter_to_first``:
    medians of what was confirmed; well above 1, the rate was more than it can keep.
    """
    supply = _Supply(corpus)
    with running() as servers:
        plain = servers.installation("plain", variables=WITHOUT_MODELS)
        worker = _worker(servers, plain, supply, PROBE, "--made-up")
        bare = _bare(servers, plain, supply, worker["events_per_second"])
        models = _worker(servers, servers.installation("models"), supply, PROBE_MODELS)
    return {
        "characters": CHARACTERS,
        "seconds": SECONDS,
        "rows": {"without models": worker, "with models": models, "bare loop": bare},
        "ratio": {
            name: round(worker["committed"][name] / bare["committed"][name], 1)
            for name in worker["committed"]
        },
    }


class _Supply:
    """Conversations of which none comes twice."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._used = 0

    def texts(self, count: int) -> list[str]:
        start, self._used = self._used, self._used + count
        return self._corpus.pieces(CHARACTERS, self._used)[start:]

    @property
    def seed(self) -> int:
        """Of conversations that begin behind what was taken."""
        return self._used


def _worker(
    servers: Servers, place: Installation, supply: _Supply, probe: int, *options: str
) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.confirming", str(place.config), *options]
    sender = Sender(servers.bootstrap, place.prefix)
    commits = Commits(servers.bootstrap, place.group)
    with _started(command, place.environment) as process:
        reader = Reader(process, commits)
        try:
            warm = sender.send(_conversations(supply, max(40, probe * WARM // PROBE)), 1 << 30)
            reader.await_all(warm)
            burst = sender.send(_conversations(supply, probe), probe)
            reader.await_all(burst)
            first = min(one.acknowledged for one in burst)
            most = probe / (commits.moments()[-1] / 1_000 - first)
            sent, rate = _open_loop(sender, supply, LOAD * most)
            reader.await_all(sent)
            confirmed = reader.end()
        finally:
            process.kill()
            commits.close()
    return {"most_events_per_second": round(most)} | _row(sent, rate, confirmed, commits)


def _bare(servers: Servers, place: Installation, supply: _Supply, rate: float) -> dict[str, Any]:
    count = _even(rate * SECONDS)
    seed, texts = supply.seed, supply.texts(_even(WARM) + count)
    path = servers.folder / "texts.json"
    path.write_text(json.dumps(texts), "utf-8")
    arguments = [str(servers.folder), str(path), place.prefix, str(seed)]
    command = [sys.executable, "-m", "benchmarks.bareloop", *arguments]
    sender = Sender(servers.bootstrap, place.prefix)
    commits = Commits(servers.bootstrap, bareloop.GROUP)
    waiting = events.conversations(texts, seed)
    with _started(command, place.environment) as process:
        reader = Reader(process, commits)
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("the bare loop did not start")
            reader.await_all(sender.send(waiting, _even(WARM)))
            sent = sender.send(waiting, count, rate)
            reader.await_all(sent)
            confirmed = reader.end()
        finally:
            process.kill()
            commits.close()
    return _row(sent, rate, confirmed, commits)


def _open_loop(sender: Sender, supply: _Supply, rate: float) -> tuple[list[Sent], float]:
    count = _even(rate * SECONDS)
    return sender.send(_conversations(supply, count), count, rate), rate


def _conversations(supply: _Supply, count: int) -> Any:
    seed = supply.seed
    return events.conversations(supply.texts(_even(count)), seed)


def _row(
    sent: Sequence[Sent],
    rate: float,
    confirmed: Mapping[tuple[str, int, int], tuple[int, float]],
    commits: Commits,
) -> dict[str, Any]:
    """Raises RuntimeError for an event that not all four stores confirmed."""
    written = [confirmed.get((one.topic, one.partition, one.offset), (0, 0.0)) for one in sent]
    missing = sum(stores != len(STORES) for stores, _ in written)
    if missing:
        raise RuntimeError(f"{missing} of {len(sent)} events were not confirmed by all stores")
    waits = [at - one.due for one, (_, at) in zip(sent, written, strict=True)]
    committed = [
        (commits.when((one.topic, one.partition), one.offset) or 0) / 1_000 - one.due
        for one in sent
    ]
    quarter = max(1, len(waits) // 4)
    return {
        "events": len(sent),
        "events_per_second": round(rate, 1),
        "acknowledged": _milliseconds([one.acknowledged - one.due for one in sent]),
        "confirmed": _milliseconds(waits),
        "committed": _milliseconds(committed),
        "last_quarter_to_first": round(
            statistics.median(waits[-quarter:]) / statistics.median(waits[:quarter]), 2
        ),
    }


def _milliseconds(seconds: Sequence[float]) -> Milliseconds:
    found = sorted(seconds)
    last = len(found) - 1
    picked = {str(p): found[min(last, len(found) * p // 100)] for p in PERCENTILES}
    return {name: round(x * 1_000, 1) for name, x in {**picked, "greatest": found[last]}.items()}


def _started(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _even(count: float) -> int:
    return max(2, int(count) // 2 * 2)


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = [*map(str, PERCENTILES), "greatest"]
    heads = ["events/s, of at most", *(f"p{p}" for p in PERCENTILES), "greatest", "end to begin"]
    lines = [
        "| ms from the moment an event was due | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name, row in result["rows"].items():
        most = row.get("most_events_per_second")
        rate = f"{row['events_per_second']:,.0f}" + (f", {most:,}" if most else "")
        for what in ("acknowledged", "confirmed", "committed"):
            cells = " | ".join(f"{row[what][each]:,.0f}" for each in names)
            grown = f"{row['last_quarter_to_first']}×" if what == "confirmed" else ""
            lines.append(f"| {name}: {what} | {rate} | {cells} | {grown} |")
    cells = " | ".join(f"**{result['ratio'][each]}×**" for each in names)
    lines.append(f"| **committed, worker without models to bare loop** | | {cells} | |")
    return "\n".join(lines)
