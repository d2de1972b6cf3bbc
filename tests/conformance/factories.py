"""How the suites make what they have found. An author of a sink or stage adds one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sinks.sqlite.graph import GraphSink
from sinks.sqlite.search import SearchSink
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.vector import VectorSink
from tests.conformance.harness import Harness, SqliteHarness

SINKS: dict[type, Callable[[Path], Harness]] = {
    sink: lambda folder, sink=sink: SqliteHarness(folder, sink)
    for sink in (GraphSink, VectorSink, TimeseriesSink, SearchSink)
}
