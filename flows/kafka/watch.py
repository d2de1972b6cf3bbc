"""What errors of the cluster mean for the worker."""

from __future__ import annotations

import time

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from flows.control import COMMITS, Control
from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.kafka.client import WHAT, code_of, raise_for
from sinks.kafka.settings import KafkaSettings

_PASSING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._ASSIGNMENT_LOST,
    }
)
"""The group has moved on; librdkafka joins it again by itself."""
_DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
_FOR_GOOD = {
    KafkaError.FENCED_INSTANCE_ID: "Another process has joined the group under the same "
    "kafka.instance_id: give each member one of its own.",
    KafkaError.UNRELEASED_INSTANCE_ID: "Another process is in the group under the same "
    "kafka.instance_id: give each member one of its own.",
    KafkaError.UNSUPPORTED_VERSION: "The brokers do not know the group protocol consumer: set "
    'kafka.protocol = "classic".',
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "The members of the group do not use the same "
    "kafka.protocol: stop them all, then start them with one.",
    KafkaError.GROUP_MAX_SIZE_REACHED: "The group has as many members as the brokers allow.",
}
_log = structlog.get_logger("kafka")


class Watch:
    """Tells what passes from what does not, and keeps the trouble in the control up to date.

    An error that is ``fatal()``, or has the code ``_FATAL``, ends the process: the client would
    live on without partitions.
    """

    def __init__(self, settings: KafkaSettings, control: Control) -> None:
        self._settings = settings
        self._control = control
        self._down = self._worked = False
        self._asked = 0.0

    def failed(self, error: KafkaError) -> None:
        """Something other than a commit failed."""
        code = error.code()
        if code in _FOR_GOOD:
            self._control.fail(UserError(_FOR_GOOD[code]))
        elif code == KafkaError._FATAL and self._settings.instance_id is not None:
            # The client does not say which; for a static member it is this one.
            self._control.fail(UserError(_FOR_GOOD[KafkaError.FENCED_INSTANCE_ID]))
        elif error.fatal() or code == KafkaError._FATAL:
            self._control.fail(Unavailable(WHAT, f"fatal_{code_of(error)}"))
        elif code in _PASSING:
            _log.warning("group_moved_on", code=code_of(error))
        else:
            if code in _DENIED or not self._worked:
                self._ask_person(code)
            if code != KafkaError._TRANSPORT:  # One broker of several.
                self.trouble(code_of(error))

    def commit_failed(self, error: KafkaError) -> None:
        """A commit failed: the next one says the same and more."""
        passing = error.code() in _PASSING
        if not passing and (error.fatal() or error.code() == KafkaError._FATAL):
            self.failed(error)
            return
        _log.warning("commit_failed", code=code_of(error))
        if not passing:
            self._control.degrade(COMMITS, code_of(error))

    def committed(self) -> None:
        """A commit was accepted."""
        self._control.degrade(COMMITS, None)
        self.works()

    def works(self) -> None:
        """The cluster has answered."""
        self._worked = True
        if self._down:
            self._down = False
            self._control.trouble(WHAT, None)
            _log.info("kafka_back")

    def ask_again(self, consumer: Consumer) -> None:
        """While in trouble and nothing comes: asks now and then whether the cluster is back."""
        now = time.monotonic()
        if self._down and now - self._asked > 2.0:
            self._asked = now
            try:
                consumer.list_topics(timeout=0.5)
            except KafkaException:
                return
            self.works()

    def trouble(self, code: str) -> None:
        """The cluster does not answer now."""
        if not self._down:
            _log.warning("kafka_trouble", code=code, servers=self._settings.bootstrap_servers)
        self._down = True
        self._control.trouble(WHAT, code)

    def _ask_person(self, code: int) -> None:
        try:
            raise_for(self._settings, code)
        except UserError as problem:
            self._control.fail(problem)
