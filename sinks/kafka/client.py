"""What every Kafka client of ours has in common: properties, log lines, errors."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.kafka.settings import KafkaSettings

_log = structlog.get_logger("kafka")
WHAT = "kafka"
C = TypeVar("C", Consumer, Producer, AdminClient)

OWN_SETTINGS = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "group.id": "group",
    "group.instance.id": "instance_id",
    "group.protocol": "protocol",
    "max.poll.interval.ms": "max_poll_interval_ms",
    "session.timeout.ms": "session_timeout_ms",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_username",
    "sasl.password": "sasl_password",
    "ssl.ca.location": "ssl_ca",
}
"""Properties that a setting of ours gives, by the name of the setting."""

GUARANTEED = frozenset(
    {
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "enable.partition.eof",
        "partition.assignment.strategy",
        "heartbeat.interval.ms",
        "check.crcs",
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "retries",
        "message.send.max.retries",
        "transactional.id",
        "partitioner",
        "allow.auto.create.topics",
    }
)
"""Properties that the delivery guarantees rest on."""

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
_LOG_LEVEL = 5  # Notices and worse.
_QUIET = 10.0
_SPREAD = 2.0
_SIGN_IN = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED)
_DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


class _Forward(logging.Handler):
    """librdkafka's own lines as codes: their texts name hosts, users and values. A code that was
    logged less than :data:`_QUIET` seconds ago is not logged again."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        code = snake(str(arguments[0])) if arguments else "unknown"
        now = time.monotonic()
        if now - self._logged.get(code, -_QUIET) < _QUIET:
            return
        self._logged[code] = now
        # What librdkafka calls an error is mostly a connection that it opens again by itself.
        structlog.get_logger("kafka").log(min(record.levelno, logging.WARNING), "client", code=code)


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("librdkafka")  # Not one of the tree: nobody else can attach to it.
    logger.addHandler(handler)
    return logger


def check_properties(settings: KafkaSettings) -> None:
    """Raises UserError for a property that is not one, or that is not the user's to set."""
    for key, value in settings.properties.items():
        if key in OWN_SETTINGS:
            raise UserError(
                f"kafka.properties: {key} has a setting of its own, kafka.{OWN_SETTINGS[key]}."
            )
        if key in GUARANTEED:
            raise UserError(
                f"kafka.properties: {key} cannot be set, because nothing may be lost: the worker "
                "sets it."
            )
        if key.endswith("_cb") or not _known(key, value):
            raise UserError(
                f"kafka.properties: {key} is not a property of librdkafka, or its value is not one."
            )


def properties(settings: KafkaSettings) -> dict[str, Any]:
    """How to connect and sign in, and the properties the settings pass through.

    What the settings pass goes before; a caller adds its defaults before and what its guarantees
    rest on behind. Raises UserError for what may not be passed through.
    """
    check_properties(settings)
    made: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "llm-memory-graph",
        "security.protocol": settings.security_protocol,
        "log_level": 0,  # Its lines are not ours; those who want them take the codes (open_…).
        "log.connection.close": "false",
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


def open_consumer(made: dict[str, Any]) -> Consumer:
    """A consumer whose log lines are ours. Raises UserError for properties that do not go."""
    return _open(Consumer, made)


def open_producer(made: dict[str, Any]) -> Producer:
    """As :func:`open_consumer`."""
    return _open(Producer, made)


def open_admin(settings: KafkaSettings, **callbacks: Any) -> AdminClient:
    """As :func:`open_consumer`."""
    return _open(AdminClient, properties(settings) | callbacks)


def leave(consumer: Consumer, seconds: float) -> None:
    """Closes a consumer, which leaves its group; brokers that do not answer hold up the caller for
    no more than this. Who holds a lock that the consumer's callbacks take has to let go of it."""

    def end() -> None:
        try:
            consumer.close()
        except KafkaException as error:
            _log.warning("leave_failed", code=code_of(error.args[0]))

    leaving = threading.Thread(target=end, name="kafka-leaving", daemon=True)
    leaving.start()
    leaving.join(seconds)
    if leaving.is_alive():
        _log.warning("leave_failed", code="timed_out")


def _open(kind: Callable[..., C], made: dict[str, Any]) -> C:
    try:
        return kind({**made, "log_level": _LOG_LEVEL}, logger=_logger(_Forward()))
    except KafkaException:
        raise UserError(
            "The Kafka client cannot be made from the [kafka] section: its properties do not go "
            "together, or a file that they name cannot be read."
        ) from None


def connect(settings: KafkaSettings, topics: tuple[str, ...] = (), seconds: float = 10.0) -> None:
    """Asks the cluster once. Raises UserError where signing in fails or a topic is missing (those
    of ``topics``, without the prefix), and Unavailable where no broker answers in time."""
    errors: list[int] = []
    admin = open_admin(settings, error_cb=lambda error: errors.append(error.code()))
    ends = time.monotonic() + seconds
    while True:
        try:
            missing = _missing(settings, admin, topics)
        except KafkaException as exception:
            admin.poll(0)
            for code in errors:
                raise_for(settings, code)
            if time.monotonic() > ends:
                raise unavailable(exception) from None
            continue
        if not missing:
            return
        # What was just made is not known to every broker at once.
        if time.monotonic() > ends - seconds + _SPREAD:
            raise missing_topics(settings, missing)
        time.sleep(0.1)


def _missing(settings: KafkaSettings, admin: AdminClient, topics: tuple[str, ...]) -> list[str]:
    found = admin.list_topics(timeout=1.0).topics
    return [name for name in topics if settings.topic_prefix + name not in found]


def missing_topics(settings: KafkaSettings, missing: list[str]) -> UserError:
    names = ", ".join(settings.topic_prefix + name for name in missing)
    return UserError(
        f"Kafka has no topic {names}. Make the topics with: memory-graph topics create"
    )


def raise_for(settings: KafkaSettings, code: int) -> None:
    """Raises UserError for an error code that the person at the keyboard can put right."""
    if code in _SIGN_IN:
        if settings.security_protocol.startswith("SASL"):
            raise UserError(
                "Kafka refuses to sign in: check kafka.sasl_username, kafka.sasl_mechanism and the "
                "password in MEMORY_GRAPH_KAFKA__SASL_PASSWORD."
            )
        raise UserError(
            "Kafka refuses the connection: check kafka.security_protocol and kafka.ssl_ca."
        )
    if code in _DENIED:
        raise UserError(
            "Kafka denies access: the user of kafka.sasl_username needs rights to the topics "
            "(describe, read, write) and to the group (read)."
        )


def code_of(error: KafkaError) -> str:
    """Our code for an error, by its number."""
    return _CODES.get(error.code()) or snake(error.name())


def unavailable(error: KafkaException | KafkaError) -> Unavailable:
    """Our exception for an error, without its message."""
    found: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    return Unavailable(WHAT, code_of(found))


def snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "unknown"


def _known(key: str, value: str) -> bool:
    try:
        AdminClient({key: value}, logger=_logger(logging.NullHandler()))
    except (KafkaException, TypeError, ValueError):
        return False
    return True
