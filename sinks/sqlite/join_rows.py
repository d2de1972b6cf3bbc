"""The statements of the join tables, as jobs for the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schemas.items import PromptSide
from schemas.ports import Waiting
from sinks.common.packing import pack
from sinks.common.responses import pack_response, prompt_of, unpack_response

SELECT_SIDES = "SELECT prompt_id, side, log_time FROM join_prompts WHERE prompt_id IN ({keys})"
SELECT_ORPHANS = (
    "SELECT response_id, orphan, log_time FROM join_responses WHERE response_id IN ({keys})"
)
_COLUMNS = "SELECT response, log_time, orphan, response_id FROM join_responses"
SELECT_WAITING = f"{_COLUMNS} WHERE prompt_id IN ({{keys}})"

_ADD_PROMPT = (
    "INSERT INTO join_prompts (prompt_id, log_time, known, side) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (prompt_id) DO UPDATE SET known = excluded.known, side = excluded.side"
    " WHERE excluded.known >= known"
)
_ADD_RESPONSE = (
    "INSERT OR IGNORE INTO join_responses (response_id, prompt_id, log_time, orphan, response)"
    " VALUES (?, ?, ?, ?, ?)"
)
_MEET = "UPDATE join_responses SET met = 1 WHERE response_id = ?"
_FORGET_RUN = "UPDATE join_responses SET announced = 0 WHERE orphan = 1"
_RECOVERED = f"{_COLUMNS} WHERE orphan = 1 AND announced = 0 AND met = 0 LIMIT ?"
_DUE = (
    f"{_COLUMNS} WHERE met = 0 AND orphan = 0 AND log_time < ?"
    " ORDER BY log_time, response_id LIMIT ?"
)
_ANNOUNCE = "UPDATE join_responses SET orphan = 1, announced = ? WHERE response_id = ?"
_OLDEST = "SELECT min(log_time) FROM join_responses WHERE met = 0 AND orphan = 0"
_UNHEARD = "UPDATE join_responses SET announced = 0 WHERE orphan = 1 AND announced = ?"
_CONFIRM = "UPDATE join_responses SET orphan = 2 WHERE orphan = 1 AND announced BETWEEN 1 AND ?"
_SWEEP = (
    "DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table} ORDER BY seq LIMIT ?)"
    " AND (log_time < ? OR seq <= (SELECT max(seq) FROM {table}) - ?)"
)
_LATEST = (1 << 63) - 1


class Due(NamedTuple):
    """What ``overdue`` found. ``oldest``: no response is due before this log time."""

    responses: tuple[Waiting, ...]
    more_recovered: bool
    oldest: int


def waiting(row: Sequence[Any]) -> Waiting:
    """A row of ``_COLUMNS``."""
    return Waiting(unpack_response(row[0]), row[1], bool(row[2]))


def prompts_job(
    sides: Sequence[tuple[PromptSide, int]], met: Sequence[str], floor: int, limit: int
) -> Callable[[sqlite3.Connection], None]:
    """Adds prompt sides and notes which responses they met."""

    def job(connection: sqlite3.Connection) -> None:
        connection.executemany(
            _ADD_PROMPT, [(s.prompt_id, at, int(s.user.known), pack(s)) for s, at in sides]
        )
        if met:
            connection.executemany(_MEET, [(id_,) for id_ in met])
        _sweep(connection, "join_prompts", 2 * len(sides), floor, limit)

    return job


def responses_job(
    items: Sequence[Waiting], floor: int, limit: int
) -> Callable[[sqlite3.Connection], None]:
    """Adds responses that wait. An orphan fact that came with one is confirmed already."""

    def job(connection: sqlite3.Connection) -> None:
        connection.executemany(_ADD_RESPONSE, [_row(item) for item in items])
        _sweep(connection, "join_responses", 2 * len(items), floor, limit)

    return job


def _row(item: Waiting) -> tuple[object, ...]:
    id_, orphan = item.response.event.id, 2 if item.orphan else 0
    return id_, prompt_of(item), item.log_time, orphan, pack_response(item.response)


def overdue_job(
    before: int, limit: int, mark: int, first: bool
) -> Callable[[sqlite3.Connection], Due]:
    """Marks up to ``limit`` overdue responses; ``first``: of this run, so that all marks that are
    in the table are an earlier run's."""

    def job(connection: sqlite3.Connection) -> Due:
        if first:
            connection.execute(_FORGET_RUN)
        found = connection.execute(_RECOVERED, (limit,)).fetchall()
        more = len(found) == limit
        found += connection.execute(_DUE, (before, limit - len(found))).fetchall()
        connection.executemany(_ANNOUNCE, [(mark, row[3]) for row in found])
        (oldest,) = connection.execute(_OLDEST).fetchone()
        answers = sorted((row[1], row[3], waiting((row[0], row[1], 1))) for row in found)
        return Due(
            tuple(item for _, _, item in answers), more, _LATEST if oldest is None else oldest
        )

    return job


def unheard_job(mark: int) -> Callable[[sqlite3.Connection], None]:
    """What was announced with this mark is announced again."""

    def job(connection: sqlite3.Connection) -> None:
        connection.execute(_UNHEARD, (mark,))

    return job


def confirm_job(mark: int) -> Callable[[sqlite3.Connection], None]:
    """What was announced up to ``mark`` need not be announced again."""

    def job(connection: sqlite3.Connection) -> None:
        connection.execute(_CONFIRM, (mark,))

    return job


def sweep_job(count: int, floor: int, limit: int) -> Callable[[sqlite3.Connection], None]:
    """Removes what expired among the ``count`` oldest rows of either table."""

    def job(connection: sqlite3.Connection) -> None:
        _sweep(connection, "join_prompts", count, floor, limit)
        _sweep(connection, "join_responses", count, floor, limit)

    return job


def _sweep(connection: sqlite3.Connection, table: str, count: int, floor: int, limit: int) -> None:
    connection.execute(_SWEEP.format(table=table), (count, floor, limit))
