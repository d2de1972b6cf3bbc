"""Searching the documents."""

from __future__ import annotations

import sqlite3
from typing import Any

from schemas.items import Kind
from schemas.queries import Hit
from schemas.records import RecordId
from sinks.common.stamps import from_json
from sinks.common.words import literal_snippet
from sinks.sqlite.database import Database
from sinks.sqlite.search_terms import Terms, terms


class SearchQueries:
    """Queries over the documents; each raises Unavailable or Damaged. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(
        self,
        words: str,
        limit: int = 10,
        *,
        offset: int = 0,
        tenant: str | None = None,
        model: str | None = None,
        session: str | None = None,
        user: str | None = None,
        kind: Kind | None = None,
        since: int | None = None,
        until: int | None = None,
        marks: tuple[str, str] = ("[", "]"),
        whole: bool = False,
        snippet_tokens: int = 24,
    ) -> list[Hit]:
        """The best hits first, equals newest first; never an error for what was typed.

        ``words``: see :func:`sinks.sqlite.search_terms.terms`. ``since`` (inclusive) and ``until``
        (exclusive) are event times in µs. ``whole``: all of the text instead of a snippet.
        """
        asked = terms(words)
        if not asked.match and not asked.contains:
            return []
        conditions = {
            "d.tenant = ?": tenant,
            "d.model = ?": model,
            "d.session = ?": session,
            "d.user = ?": user,
            "d.kind = ?": kind,
            "d.time >= ?": since,
            "d.time < ?": until,
        }
        where = [text for text, value in conditions.items() if value is not None]
        arguments: list[object] = [value for value in conditions.values() if value is not None]
        where += ["instr(d.text, ?) > 0"] * len(asked.contains)
        where += ["instr(d.text, ?) = 0"] * len(asked.lacks)
        arguments += [*asked.contains, *asked.lacks]
        sql, first = _select(asked, where, marks, whole, snippet_tokens)
        rows = self._database.read(
            "search",
            lambda connection: _rows(connection, sql, [*first, *arguments, limit, offset]),
        )
        return [_hit(row, asked, marks, whole) for row in rows]


def _select(
    asked: Terms, where: list[str], marks: tuple[str, str], whole: bool, tokens: int
) -> tuple[str, list[object]]:
    columns = "d.kind, d.id, d.time, d.tenant, d.user, d.session, d.model, d.fields"
    if not asked.match:
        return (
            f"SELECT {columns}, 0.0, d.text FROM search_document AS d "  # noqa: S608
            f"WHERE {' AND '.join(where)} ORDER BY d.time DESC, d.id LIMIT ? OFFSET ?"
        ), []
    if whole:
        shown, arguments = "highlight(search_index, 0, ?, ?)", [*marks]
    else:
        shown, arguments = (
            f"snippet(search_index, 0, ?, ?, '…', {min(max(tokens, 1), 64)})",
            [*marks],
        )
    return (
        f"SELECT {columns}, -bm25(search_index), {shown} FROM search_index "  # noqa: S608
        "CROSS JOIN search_document AS d ON d.record = search_index.rowid "
        f"WHERE {' AND '.join(('search_index MATCH ?', *where))} "
        "ORDER BY bm25(search_index), d.time DESC, d.id LIMIT ? OFFSET ?"
    ), [*arguments, asked.match]


def _rows(
    connection: sqlite3.Connection, sql: str, arguments: list[object]
) -> list[tuple[Any, ...]]:
    return connection.execute(sql, arguments).fetchall()


def _hit(row: tuple[Any, ...], asked: Terms, marks: tuple[str, str], whole: bool) -> Hit:
    kind, id_, time, tenant, user, session, model, fields, score, text = row
    snippet = text if asked.match else literal_snippet(text, asked.contains, marks, whole)
    return Hit(
        RecordId(kind, id_),
        float(score),
        time,
        tenant,
        user,
        session,
        model,
        snippet,
        from_json(fields),
    )
