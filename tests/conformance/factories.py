"""How the suites make what they have found. An author of a sink or stage adds one entry here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sinks.elasticsearch.sink import ElasticsearchSink
from sinks.influxdb.sink import InfluxSink
from sinks.neo4j.sink import Neo4jSink
from sinks.pinecone.sink import PineconeSink
from sinks.sqlite.claims import SqliteClaims
from sinks.sqlite.database import Database
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.joins import SqliteJoins
from sinks.sqlite.search import SearchSink
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.vector import VectorSink
from stages.dedupe import Dedupe
from stages.embed import EmbedStage, MemoryCache
from stages.extract import ExtractStage
from stages.lookup import LookupSettings, LookupStage, TomlDirectory, open_registry
from stages.pii.detect.patterns import PatternDetector
from stages.pii.settings import PiiSettings
from stages.pii.stage import PiiStage
from stages.text import TextStage
from stages.validate.stage import Validate
from tests.conformance.doubles import HashEmbedder
from tests.conformance.elasticsearch import ElasticsearchHarness
from tests.conformance.harness import Harness, SqliteHarness
from tests.conformance.influxdb import InfluxHarness
from tests.conformance.neo4j import Neo4jHarness
from tests.conformance.pinecone import PineconeHarness

KEY = bytes(range(32))

SINKS: dict[type, Callable[[Path, pytest.FixtureRequest], Harness]] = {
    sink: lambda folder, _, sink=sink: SqliteHarness(folder, sink)
    for sink in (GraphSink, VectorSink, TimeseriesSink, SearchSink)
} | {
    PineconeSink: PineconeHarness,
    Neo4jSink: lambda _, request: Neo4jHarness(request),
    ElasticsearchSink: lambda _, request: ElasticsearchHarness(request),
    InfluxSink: lambda _, request: InfluxHarness(request),
}
"""Each makes a harness on storage of its own; the request is asked for the server, if any."""


class StageFactory(NamedTuple):
    """How to make a stage on a fresh database, and where it stands.

    ``brings``: why outcomes may hold events of earlier chunks as well; empty where they may not.
    """

    make: Callable[[Database], Any]
    brings: str = ""


STAGES: dict[type, StageFactory] = {
    Validate: StageFactory(lambda _: Validate()),
    Dedupe: StageFactory(lambda database: Dedupe(SqliteClaims(database), KEY)),
    TextStage: StageFactory(lambda _: TextStage()),
    PiiStage: StageFactory(
        lambda _: PiiStage(PatternDetector(), None, PiiSettings(), pseudonym_key=KEY, image_key=KEY)
    ),
    EmbedStage: StageFactory(lambda _: EmbedStage(HashEmbedder(), MemoryCache(100))),
    LookupStage: StageFactory(
        lambda database: LookupStage(
            open_registry(LookupSettings()), TomlDirectory(None, str), SqliteJoins(database)
        ),
        brings="a response that waited comes out again when its prompt comes",
    ),
    ExtractStage: StageFactory(lambda _: ExtractStage("1")),
}
"""In the order of the dataflow: the input of each is what the ones before make of the sample."""
