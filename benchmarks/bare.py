"""The stores' drivers as one would use them: the same batches, without versions, tombstones,
order independence, or a result for each record. Each function answers a writer of records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.local import addresses
from schemas.records import DocumentRecord, GraphRecord, PointRecord, VectorRecord

Writer = Callable[[Sequence[Any]], None]


def neo4j(address: addresses.Neo4j) -> Writer:
    """``UNWIND`` and ``MERGE``, a statement for each label and each kind of edge."""
    from neo4j import GraphDatabase

    from benchmarks import bare_neo4j

    driver = GraphDatabase.driver(address.uri, notifications_min_severity="OFF")
    labels: set[str] = set()

    def write(records: Sequence[GraphRecord]) -> None:
        found = {node.label for record in records for node in record.nodes}
        found |= {end[0] for r in records for edge in r.edges for end in (edge.source, edge.target)}
        for label in found - labels:
            driver.execute_query(
                f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:`{label}`) REQUIRE n.key IS UNIQUE"
            )
        labels.update(found)
        bare_neo4j.write(driver, records)

    return write


def elasticsearch(address: addresses.Elasticsearch) -> Writer:
    """``helpers.bulk`` with the documents' fields, dynamic mapping."""
    from elasticsearch import Elasticsearch, helpers

    client = Elasticsearch(address.url, request_timeout=60)

    def write(records: Sequence[DocumentRecord]) -> None:
        actions = [
            {"_index": "bare", "_id": r.stamp.id, "text": r.text, **r.fields} for r in records
        ]
        helpers.bulk(client, actions, chunk_size=1_000)

    return write


def influxdb(address: addresses.Influxdb, bucket: str) -> Writer:
    """``Point`` objects through the synchronous write API."""
    from influxdb_client import InfluxDBClient, Point
    from influxdb_client.client.write_api import SYNCHRONOUS

    client = InfluxDBClient(address.url, address.token, org=address.org, timeout=60_000)
    client.buckets_api().create_bucket(bucket_name=bucket)
    writer = client.write_api(write_options=SYNCHRONOUS)

    def write(records: Sequence[PointRecord]) -> None:
        points = []
        for record in records:
            point = Point("events").time(record.time_ns)
            for name, tag in record.tags.items():
                point.tag(name, tag)
            for name, value in record.fields.items():
                point.field(name, value)
            points.append(point)
        writer.write(bucket, record=points)

    return write


def pinecone(address: addresses.Pinecone) -> Writer:
    """``Index.upsert`` into one namespace, metadata as it is."""
    from pinecone import Pinecone

    index = Pinecone(api_key=address.api_key).Index(host=address.host)

    def write(records: Sequence[VectorRecord]) -> None:
        vectors = [
            {
                "id": r.stamp.id,
                "values": np.frombuffer(r.values, "<f4").tolist(),
                "metadata": _plain(r.metadata),
            }
            for r in records
        ]
        for start in range(0, len(vectors), 200):
            index.upsert(vectors=vectors[start : start + 200], namespace="bare")

    return write


def sqlite(path: Path) -> Writer:
    """A row of JSON (of bytes, for a vector) for each record, one transaction a batch, WAL."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE bare (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id))")

    def write(records: Sequence[Any]) -> None:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT OR REPLACE INTO bare VALUES (?, ?, ?)",
            [(r.stamp.kind, r.stamp.id, _body(r)) for r in records],
        )
        connection.execute("COMMIT")

    return write


def _body(record: Any) -> str | bytes:
    if isinstance(record, GraphRecord):
        nodes = [(n.label, n.key, n.properties) for n in record.nodes]
        return json.dumps([nodes, [(e.type, e.source, e.target) for e in record.edges]])
    if isinstance(record, VectorRecord):
        return record.values
    if isinstance(record, PointRecord):
        return json.dumps([record.time_ns, record.tags, record.fields])
    return json.dumps([record.text, record.fields])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}
