"""The graph in Neo4j: what flows opens, makes, checks and closes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.neo4j.client import Client
from sinks.neo4j.model import FORMAT, INDEXES, STORE, UNIQUE
from sinks.neo4j.queries import Neo4jQueries
from sinks.neo4j.rehearsal import rehearse
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.sink import Neo4jSink

_MARK = f"""
MERGE (s:{STORE} {{key: 'graph'}})
ON CREATE SET s.storeSet = $id, s.format = $format
RETURN s.storeSet = $id AS made
"""
_READ_MARK = f"MATCH (s:{STORE} {{key: 'graph'}}) RETURN s.storeSet AS id, s.format AS format"
PATIENCE = 60.0
"""Seconds for what is done once: indexes, and the rehearsal of a server that has just started."""
_INIT = "run: memory-graph stores init"
_PROBLEMS = {
    "auth": "Neo4j refused to sign in: check neo4j.user and the password",
    "forbidden": "the Neo4j user may not use the database: check its roles",
    "no_database": "Neo4j has no database of that name: check neo4j.database",
    "tls": "no TLS with Neo4j: check that neo4j.uri says +s where the server wants it",
    "bad_settings": "Neo4j cannot be used with these settings: check the section [neo4j]",
}


class Neo4jStore:
    """Connects when first used; a server that is down is no error before that."""

    def __init__(self, settings: Neo4jSettings) -> None:
        """Raises UserError where the address is none."""
        self._settings = settings
        self._client = Client(settings)
        self.sink = Neo4jSink(self._client, settings)
        self.queries = Neo4jQueries(self._client)

    def init(self) -> Sequence[str]:
        """Makes the constraints, the indexes and the id of the stores that are missing; one line
        for each. Constraints come first. Raises Unavailable; UserError as :meth:`check`."""
        with _Explained(), self._patient() as client:
            there = self._schema()
            made: list[str] = []
            for what, commands in (("constraint", UNIQUE), ("index", INDEXES)):
                for name, command in commands.items():
                    if name not in there:
                        client.rows(command)
                        made.append(f"neo4j: made the {what} {name}")
            client.rows(f"CALL db.awaitIndexes({PATIENCE:.0f})")
            (row,) = client.rows(_MARK, id=str(uuid.uuid4()), format=FORMAT)
            if row["made"]:
                made.append("neo4j: made the id of the stores")
            self._check_format()
            return made

    def check(self) -> None:
        """Raises UserError naming what is missing or wrong; Unavailable without an answer.

        Afterwards the server is warm: it has planned what writes need, which takes one that has
        just started longer than a write waits for."""
        with _Explained():
            missing = sorted(({*UNIQUE} | {*INDEXES}) - self._schema())
            if missing:
                raise UserError(f"Neo4j lacks {', '.join(missing)}; {_INIT}")
            self._check_format()
            # Without it the first writes are slow: no reason to fail.
            with suppress(Unavailable), self._patient() as client:
                rehearse(client, self._settings.batch_rows)

    def store_set(self) -> str:
        """The id that :meth:`init` minted: who claims events claims them for this set of stores."""
        with _Explained():
            return self._check_format()

    def size(self) -> int | None:
        """None: a server of the Community edition does not tell."""
        return None

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _patient(self) -> Iterator[Client]:
        """A client for what takes long and nobody waits for."""
        seconds = max(PATIENCE, self._settings.timeout_seconds)
        client = Client(self._settings.model_copy(update={"timeout_seconds": seconds}))
        try:
            yield client
        finally:
            client.close()

    def _schema(self) -> set[str]:
        """Names of the constraints and of the indexes that can be used."""
        constraints = self._client.rows("SHOW CONSTRAINTS YIELD name")
        indexes = self._client.rows("SHOW INDEXES YIELD name, state WHERE state = 'ONLINE'")
        return {row["name"] for row in (*constraints, *indexes)}

    def _check_format(self) -> str:
        found = self._client.rows(_READ_MARK)
        if not found:
            raise UserError(f"Neo4j has not been made ready; {_INIT}")
        if found[0]["format"] > FORMAT:
            raise UserError("the graph in Neo4j was written by a newer release: update this one")
        return str(found[0]["id"])


class _Explained:
    """Turns what a person can put right into a UserError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unavailable) and error.code in _PROBLEMS:
            raise UserError(_PROBLEMS[error.code]) from None
