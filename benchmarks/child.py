"""One run of the worker in a process of its own: ``python -m benchmarks.child FOLDER SETTINGS``.

SETTINGS is JSON of the configuration's sections. Prints one JSON object: seconds of CPU and of the
clock from the built pipeline to the closed stores, and CPU before that; counts of the run. With
``--follow`` it runs until SIGTERM and tells of each event its log timestamp and how many ms later
the last of its records was confirmed.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.passing import Passing
from flows.keys import Keys
from flows.logs import configure
from flows.pipeline import Pipeline, build_pipeline
from flows.settings import Settings
from flows.stores import Stores
from flows.worker import run
from schemas.ports import Result, Sink
from schemas.records import Record, RecordId
from stages.embed.stage import EmbedStage


class Timed(Passing):
    """A sink that notes when each record was confirmed: ms since 1970, by the record's id."""

    def __init__(self, sink: Sink[Any], confirmed: dict[RecordId, tuple[int, float]]) -> None:
        super().__init__(sink)
        self._confirmed = confirmed

    def write(self, records: Sequence[Record], /) -> Sequence[Result]:
        results = self._sink.write(records)
        now = time.time() * 1_000
        for record in records:
            stamp = record.stamp
            self._confirmed[stamp.record_id] = (stamp.origin.timestamp, now)
        return results


def main(folder: Path, sections: dict[str, Any], *, follow: bool) -> None:
    configure(logging.WARNING)
    marks: list[tuple[float, float]] = []
    pipelines: list[Pipeline] = []
    confirmed: dict[RecordId, tuple[int, float]] = {}

    def build(settings: Settings, keys: Keys, stores: Stores) -> Pipeline:
        if follow:
            for name, sink in list(stores.sinks.items()):
                stores.sinks[name] = Timed(sink, confirmed)
        pipelines.append(build_pipeline(settings, keys, stores))
        marks.append((time.process_time(), time.perf_counter()))
        return pipelines[-1]

    settings = Settings(**{**sections, "worker": {**sections.get("worker", {}), "data": folder}})
    summary = run(settings, follow=follow, build=build)
    (cpu, clock), (cpu_end, clock_end) = marks[0], (time.process_time(), time.perf_counter())
    embed = next(stage for stage in pipelines[0].stages if isinstance(stage, EmbedStage))
    result = {
        "start_cpu_seconds": cpu,
        "cpu_seconds": cpu_end - cpu,
        "wall_seconds": clock_end - clock,
        "events": summary.events,
        "rejected": sum(summary.rejected.values()),
        "duplicates": summary.duplicates,
        "orphans": summary.orphans,
        "written": {store: counts.get("written", 0) for store, counts in summary.written.items()},
        "lag": summary.lag,
        "texts_encoded": embed.encoded,
    }
    if follow:
        result["latencies_ms"] = [(at, round(now - at, 1)) for at, now in confirmed.values()]
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), follow=sys.argv[3:] == ["--follow"])
