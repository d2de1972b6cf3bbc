"""A worker that follows a log in Kafka which never runs dry."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import events
from benchmarks.backlog import produce
from benchmarks.machine import ROOT
from benchmarks.servers import Installation
from flows.health import Health, read_health
from schemas.records import Store
from sinks.kafka.settings import KafkaSettings

AHEAD = 3_000
"""Records that the log is kept ahead of the worker."""
POLL = 0.25

Written = dict[Store, float]


class Worker:
    """:mod:`benchmarks.following` on an installation, asked from outside."""

    def __init__(self, process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
        self.process = process
        self._data = data
        self._log = log

    def check(self) -> None:
        """Raises RuntimeError when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the worker ended with {self.process.returncode}: {self.tail}")

    @property
    def tail(self) -> str:
        """The end of what it logged."""
        return self._log.read_text("utf-8", errors="replace")[-2_000:]

    @property
    def taken(self) -> int:
        """Events that it has read."""
        health = self._health()
        return 0 if health is None else health.events

    def written(self) -> Written:
        """Records that each store has confirmed; what was parked and then reconciled is not
        among them."""
        health = self._health()
        if health is None:
            raise RuntimeError("the worker has not begun")
        with urlopen(f"http://127.0.0.1:{health.port}/metrics", timeout=30) as answer:
            page = answer.read().decode()
        return {
            sample.labels["store"]: sample.value  # type: ignore[misc]
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "llm_memory_graph_records_written_total"
            and sample.labels["status"] == "written"
        }

    def asks(self, store: Store) -> bool:
        """Whether it writes to the store, and does not park what is for it."""
        health = self._health()
        return health is not None and health.circuits.get(store) == "closed"

    def _health(self) -> Health | None:
        self.check()
        health = read_health(self._data)
        return health if health is not None and health.pid == self.process.pid else None


@contextmanager
def working(place: Installation) -> Iterator[Worker]:
    """Starts the worker, and kills it where it is left running."""
    log = place.config.parent / "worker.log"
    command = [sys.executable, "-m", "benchmarks.following", str(place.config)]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=place.environment, stderr=errors)
    try:
        yield Worker(process, place.config.parent / "worker", log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Feed:
    """Fills the log from a thread of its own, until the block is left: ``rate`` events a second, or
    while it is None as many as keep the log ahead of the worker."""

    def __init__(self, kafka: KafkaSettings, texts: list[str], worker: Worker) -> None:
        self._kafka, self._texts, self._worker = kafka, texts, worker
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        self.sent = 0
        self.rate: float | None = None

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raises what has ended it, or the worker."""
        self._worker.check()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for number in count():
                began = time.monotonic()
                while not self._due(time.monotonic() - began):
                    if self._ended.wait(POLL):
                        return
                if self._ended.is_set():
                    return
                produce(self._kafka, _conversations(self._texts, number), len(self._texts))
                self.sent += len(self._texts)
        except BaseException as error:
            self._failure = error

    def _due(self, passed: float) -> bool:
        if self.rate is None:
            return self.sent - self._worker.taken < AHEAD
        return passed * self.rate >= len(self._texts)


def _conversations(texts: list[str], number: int) -> Iterator[tuple[str, events.Event]]:
    """Texts and sessions that no other number has."""
    for topic, event in events.conversations([f"{number} {text}" for text in texts], number):
        if "session" in event:
            event["session"]["id"] += f"-{number}"
        yield topic, event
