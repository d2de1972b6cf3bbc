"""A member of a group as a process: the real source and barrier, and a sink that writes files.

``python -m tests.flows.kafka.member SETTINGS RECORD [--once] [--hold FILE]``: what was written is
in RECORD, a line ``topic partition offset`` for each record, appended before the epoch ends. While
FILE exists, the sink waits, as for a store that is down.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from flows.barrier import BarrierSink
from flows.control import Control
from flows.kafka import kafka_source
from flows.source import LogSource, Reading
from flows.stopping import signals
from flows.worker import patiently
from schemas.chunk import Chunk
from schemas.log import LogRecord
from sinks.kafka.settings import KafkaSettings


class Recorder:
    """Appends the coordinates of what it gets; durable when it returns."""

    name = "record"

    def __init__(self, path: Path, hold: Path | None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._hold = hold

    def __call__(self, chunk: Chunk[LogRecord]) -> None:
        while self._hold is not None and self._hold.exists():
            time.sleep(0.05)
        origins = (r.origin for r in chunk.items)
        lines = "".join(f"{o.topic} {o.partition} {o.offset}\n" for o in origins)
        os.write(self._file, lines.encode())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings")
    parser.add_argument("record", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--hold", type=Path)
    given = parser.parse_args()
    settings = KafkaSettings.model_validate_json(given.settings)
    faulthandler.enable()
    control = Control(quiet=True)
    with signals(control, 30.0):
        print("ready", flush=True)
        reading = Reading(follow=not given.once, limit=100, work=1000.0, poll=0.0)
        part = patiently(
            control, lambda: kafka_source(settings, reading, control, lambda: lambda: None)
        )
        flow = Dataflow("member")
        chunks = op.input("source", flow, LogSource(part))
        full = op.filter_value("full", chunks, lambda chunk: bool(chunk.items))
        sink = BarrierSink(Recorder(given.record, given.hold), control, threads=2, depth=4)
        op.output("record", full, sink)
        cli_main(  # type: ignore[no-untyped-call]
            flow, workers_per_process=1, epoch_interval=timedelta(seconds=0.2)
        )
    if control.failure is not None:
        sys.stderr.write(f"{control.failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
