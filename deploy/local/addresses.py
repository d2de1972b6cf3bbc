"""Where a started server is, with what it takes to sign in."""

from __future__ import annotations

import msgspec


class Kafka(msgspec.Struct, frozen=True):
    """``bootstrap`` is PLAINTEXT, ``sasl`` is SASL_PLAINTEXT with SCRAM-SHA-512."""

    bootstrap: str
    sasl: str = ""
    user: str = ""
    password: str = ""


class Neo4j(msgspec.Struct, frozen=True):
    """``password`` is empty where the server asks for none."""

    uri: str
    user: str = "neo4j"
    password: str = ""


class Elasticsearch(msgspec.Struct, frozen=True):
    url: str


class Influxdb(msgspec.Struct, frozen=True):
    """``token`` may do everything in ``org``."""

    url: str
    org: str
    token: str


class Redis(msgspec.Struct, frozen=True):
    url: str


class Pinecone(msgspec.Struct, frozen=True):
    """``host`` as ``Pinecone(...).Index(host=...)`` takes it."""

    host: str
    api_key: str


class Registry(msgspec.Struct, frozen=True):
    """``target`` as ``grpc.insecure_channel`` takes it."""

    target: str


Address = Kafka | Neo4j | Elasticsearch | Influxdb | Redis | Pinecone | Registry
