"""The validate stage: what may pass is decoded, all else is rejected with a code and a place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from schemas.chunk import Chunk, Outcome
from schemas.events import KINDS, TOPICS
from schemas.failures import Detail, Rejected
from schemas.items import Decoded, Kind
from schemas.log import LogRecord
from stages.validate.enums import close_enums
from stages.validate.formats import EPOCH, is_uuid
from stages.validate.raw import Broken, parse
from stages.validate.settings import ValidateSettings
from stages.validate.shape import SCHEMAS, Names
from stages.validate.typed import decode
from stages.validate.version import version_problem

_MICROSECOND = timedelta(microseconds=1)
_KIND: dict[str, Kind] = {topic: KINDS[event] for topic, event in TOPICS.items()}  # type: ignore[misc]
_NAMES = {topic: Names(schema) for topic, schema in SCHEMAS.items()}
_DEFAULTS = ValidateSettings()


class Validate:
    """Log records to typed events. Never raises for what a record holds.

    Rejections carry one of :data:`stages.validate.codes.CODES` and a path of names that the schema
    knows; never a value. The outcome depends on the record and the settings alone.
    """

    name = "validate"

    def __init__(self, settings: ValidateSettings = _DEFAULTS) -> None:
        self._max_bytes = settings.max_bytes
        self._max_depth = settings.max_depth
        self._ahead = settings.ahead_seconds * 1_000_000
        self._behind = settings.behind_seconds * 1_000_000

    def __call__(self, chunk: Chunk[LogRecord], /) -> Outcome[Decoded]:
        passed: list[Decoded] = []
        rejected: list[Rejected] = []
        for record in chunk.items:
            result = self.one(record)
            if isinstance(result, Decoded):
                passed.append(result)
            else:
                rejected.append(result)
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time), tuple(rejected))

    def one(self, record: LogRecord) -> Decoded | Rejected:
        """One record: its event, or why it is none."""
        tree: Any = None
        origin = record.origin
        kind = _KIND.get(origin.topic)
        try:
            if kind is None:
                raise Broken("unknown_topic", Detail("$", "one of " + ", ".join(sorted(TOPICS))))
            _, headers, value = record.original.open()
            if headers and (problem := version_problem(headers)) is not None:
                raise Broken(*problem)
            if len(value) > self._max_bytes:
                raise Broken("too_large", Detail("$", f"at most {self._max_bytes} bytes"))
            tree = parse(value, self._max_depth)
            event = decode(tree, origin.topic)
            time = (event.timestamp - EPOCH) // _MICROSECOND
            self._check_window(time, origin.timestamp * 1000)
        except Broken as broken:
            return Rejected(
                self.name, broken.code, origin, broken.detail, record.original, _id_of(tree), kind
            )
        event, reason = close_enums(event)
        unknown = _NAMES[origin.topic].unknown(tree)
        return Decoded(kind, event.event_id, time, event, origin, record.original, unknown, reason)

    def _check_window(self, time: int, log_time: int) -> None:
        if time > log_time + self._ahead:
            expected = f"at most {self._ahead // 1_000_000} s after the log timestamp"
            raise Broken("timestamp_too_late", Detail("$.timestamp", expected))
        if time < log_time - self._behind:
            expected = f"at most {self._behind // 1_000_000} s before the log timestamp"
            raise Broken("timestamp_too_early", Detail("$.timestamp", expected))


def _id_of(tree: Any) -> str | None:
    value = tree.get("eventId") if isinstance(tree, dict) else None
    return value.lower() if isinstance(value, str) and is_uuid(value) else None
