"""One member of a group whose stores keep nothing: ``python -m benchmarks.member CONFIG``.

It says ``ready`` when everything but the log is open, begins with the next line that it reads, and
ends at the end of the log. Prints one JSON object: seconds of CPU from that line to the end of the
run, and when its first and its last records were written, in seconds since 1970.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.keys import Keys
from flows.logs import configure
from flows.pipeline import Pipeline, build_pipeline
from flows.settings import Settings, load_settings
from flows.stores import Stores
from flows.worker import run
from schemas.ports import ERASED, WRITTEN, Result, Stored
from schemas.records import Record, RecordId, Store


class Discarding:
    """A sink that confirms what it gets and keeps nothing but when that was."""

    def __init__(self, store: Store, moments: list[float]) -> None:
        self.store = store
        self._moments = moments

    def write(self, records: Sequence[Record], /) -> Sequence[Result]:
        self._moments.append(time.time())
        return [WRITTEN] * len(records)

    def fetch(self, _: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        return {}

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        return [ERASED] * len(ids)

    def count(self) -> int:
        return 0

    def close(self) -> None:
        pass


def main(config: Path) -> None:
    configure(logging.WARNING)
    moments: list[float] = []
    started: list[float] = []

    def build(settings: Settings, keys: Keys, stores: Stores) -> Pipeline:
        for store in stores.sinks:
            stores.sinks[store] = Discarding(store, moments)
        pipeline = build_pipeline(settings, keys, stores)
        print("ready", flush=True)
        sys.stdin.readline()
        started.append(time.process_time())
        return pipeline

    summary = run(load_settings(config), build=build)
    result = {
        "cpu_seconds": time.process_time() - started[0],
        "events": summary.events,
        "rejected": sum(summary.rejected.values()),
        "orphans": summary.orphans,
        "written": {store: counts.get("written", 0) for store, counts in summary.written.items()},
        "first": min(moments, default=None),
        "last": max(moments, default=None),
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
