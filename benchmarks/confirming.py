"""A worker that notes when its stores confirmed what: ``python -m benchmarks.confirming CONFIG``.

It follows the log until SIGTERM and then prints a JSON list of (topic, partition, offset, stores
that confirmed the event's record, moment of the last of them in seconds since 1970), the topic as
Kafka has it. With ``--made-up`` no model is loaded, and vectors are made up.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.made_up import MadeUp
from benchmarks.passing import Passing
from flows.keys import Keys
from flows.logs import configure
from flows.pipeline import Pipeline, build_pipeline
from flows.services import Services, open_services
from flows.settings import Settings, load_settings
from flows.stores import Stores
from flows.worker import run
from schemas.log import Origin
from schemas.ports import Result, Sink
from schemas.records import Record
from stages.lookup import open_directory, open_registry

Moments = dict[Origin, float]


class Confirming(Passing):
    """A sink that notes the moment in which an event's record was confirmed, last of all."""

    def __init__(self, sink: Sink[Any], moments: Moments) -> None:
        super().__init__(sink)
        self._moments = moments

    def write(self, records: Sequence[Record], /) -> Sequence[Result]:
        results = self._sink.write(records)
        now = time.time()
        for record, result in zip(records, results, strict=True):
            if result.status == "written":
                self._moments[record.stamp.origin] = now
        return results


def main(config: Path, *, made_up: bool) -> None:
    configure(logging.WARNING)
    settings = load_settings(config)
    noted: list[Moments] = []

    def build(settings: Settings, keys: Keys, stores: Stores) -> Pipeline:
        for name, sink in list(stores.sinks.items()):
            noted.append({})
            stores.sinks[name] = Confirming(sink, noted[-1])
        services = _without_models if made_up else open_services
        return build_pipeline(settings, keys, stores, services=services)

    run(settings, follow=True, build=build)
    json.dump(list(_merged(settings.kafka.topic_prefix, noted)), sys.stdout)


def _without_models(settings: Settings, screen: Any) -> Services:
    registry = open_registry(settings.lookup)
    return Services(registry, open_directory(settings.lookup, screen), MadeUp())


def _merged(prefix: str, noted: Iterable[Moments]) -> Iterable[tuple[str, int, int, int, float]]:
    last: dict[Origin, tuple[int, float]] = {}
    for moments in noted:
        for origin, moment in moments.items():
            stores, before = last.get(origin, (0, 0.0))
            last[origin] = stores + 1, max(before, moment)
    for origin, (stores, moment) in last.items():
        yield prefix + origin.topic, origin.partition, origin.offset, stores, moment


if __name__ == "__main__":
    main(Path(sys.argv[1]), made_up=sys.argv[2:] == ["--made-up"])
