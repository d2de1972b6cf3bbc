"""Failures as values: what was refused, by which stage, and why, without the payload."""

from __future__ import annotations

import msgspec

from schemas.log import Origin, Original


class Detail(msgspec.Struct, frozen=True):
    """Why, in words that are ours: never the offending value and never a library's message.

    ``path`` is a JSON path such as ``$.session.id`` made of field names of the schema (names that
    the schema does not know appear as ``*``), ``expected`` what should have stood there.
    """

    path: str = "$"
    expected: str = ""


class Rejected(msgspec.Struct, frozen=True):
    """An event that can never pass as it is. It becomes a dead letter.

    ``code`` is one of the stable, documented codes (snake_case); ``original`` is None only for
    records that were completed from the join store, whose bytes are no longer at hand.
    """

    stage: str
    code: str
    origin: Origin
    detail: Detail = Detail()
    original: Original | None = None
    event_id: str | None = None
    kind: str | None = None


class UserError(Exception):
    """Something the person at the keyboard can put right: the message says what, where, what to do.

    The command line prints it without a traceback and exits with ``exit_code``.
    """

    exit_code = 2
