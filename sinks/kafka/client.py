"""What every client of the cluster has in common: how it connects, and what its errors mean."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException

from schemas.ports import Unavailable
from sinks.kafka.settings import KafkaSettings

WHAT = "kafka"
_CODES = {
    KafkaError._TRANSPORT: "unreachable",
    KafkaError._ALL_BROKERS_DOWN: "unreachable",
    KafkaError._RESOLVE: "unreachable",
    KafkaError._MSG_TIMED_OUT: "timed_out",
    KafkaError._TIMED_OUT: "timed_out",
    KafkaError._TIMED_OUT_QUEUE: "timed_out",
    KafkaError.REQUEST_TIMED_OUT: "timed_out",
    KafkaError._UNKNOWN_TOPIC: "unknown_topic",
    KafkaError._UNKNOWN_PARTITION: "unknown_topic",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "unknown_topic",
    KafkaError._AUTHENTICATION: "authentication",
    KafkaError.SASL_AUTHENTICATION_FAILED: "authentication",
    KafkaError._SSL: "tls",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "not_authorized",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "not_authorized",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "not_authorized",
    KafkaError.MSG_SIZE_TOO_LARGE: "too_large",
    KafkaError.NOT_ENOUGH_REPLICAS: "not_enough_replicas",
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: "not_enough_replicas",
}


def properties(settings: KafkaSettings) -> dict[str, Any]:
    """How to connect and sign in, and the properties the settings pass through.

    What the settings pass goes before; a caller adds its defaults before and what its guarantees
    rest on behind. The library's own log is off: its lines are not ours and may quote data.
    """
    made: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "llm-memory-graph",
        "security.protocol": settings.security_protocol,
        "log_level": 0,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
    }
    if settings.security_protocol.startswith("SASL"):
        made["sasl.mechanism"] = settings.sasl_mechanism
        made["sasl.username"] = settings.sasl_username
        made["sasl.password"] = settings.sasl_password.get_secret_value()
    if settings.ssl_ca is not None:
        made["ssl.ca.location"] = settings.ssl_ca
    return made | settings.properties


def code_of(error: KafkaError) -> str:
    """Our code for an error, by its number."""
    return _CODES.get(error.code()) or error.name().strip("_").lower()


def unavailable(error: KafkaException | KafkaError) -> Unavailable:
    """Our exception for an error, without its message."""
    found: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    return Unavailable(WHAT, code_of(found))
