"""The narrow interface to the server: one transaction a call, bounded in time, errors as ours."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from neo4j import Driver, GraphDatabase, Query, Result, Session, Transaction
from neo4j.exceptions import DriverError, Neo4jError

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.common.quiet import quiet
from sinks.neo4j.errors import AGAIN, translate
from sinks.neo4j.settings import Neo4jSettings

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]] | Sequence[list[str]]

ATTEMPTS = 10
"""How often a transaction is tried that another one stood in the way of."""

SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")

quiet("neo4j")


class Client:
    """Connections to one database. Safe from any thread; connects when first needed.

    The driver's own retries are not used: delivery decides when to try again. Only what others
    cause (deadlocks) is tried again here, within the call's time.
    """

    def __init__(self, settings: Neo4jSettings) -> None:
        self._settings = settings
        self._driver = _driver(settings)
        self._state = threading.Condition()
        self._closed = False
        self._running = 0

    def run(self, work: Callable[[Transaction], T], *, commit: bool = True) -> T:
        """Runs the work in a transaction of its own and commits it, or takes it back. Raises
        Unavailable."""

        def once(session: Session) -> T:
            timeout = self._settings.timeout_seconds
            with session.begin_transaction(timeout=timeout) as transaction:
                answer = work(transaction)
                if commit:
                    transaction.commit()
                else:
                    transaction.rollback()
                return answer

        return self._counted(lambda: self._retried(once))

    def check_open(self) -> None:
        """Raises Unavailable once it is closed."""
        if self._closed:
            raise Unavailable("graph", "closed")

    def rows(self, text: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one statement that brings its own transaction, and may be run twice. Raises
        Unavailable."""
        query = Query(text, timeout=self._settings.timeout_seconds)

        def work(session: Session) -> list[dict[str, Any]]:
            return _rows(session.run(query, parameters))

        return self._counted(lambda: self._retried(work))

    def close(self) -> None:
        """Waits for what is running, as long as a call may take, then closes the connections."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._state.wait_for(lambda: not self._running, self._settings.timeout_seconds)
        self._driver.close()

    def _counted(self, call: Callable[[], T]) -> T:
        with self._state:
            self.check_open()
            self._running += 1
        try:
            return call()
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()

    def _retried(self, work: Callable[[Session], T]) -> T:
        deadline = time.monotonic() + self._settings.timeout_seconds
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._in_session(work)
            except Unavailable as error:
                pause = random.uniform(0.0, 0.02 * attempt)  # noqa: S311
                late = time.monotonic() + pause > deadline
                if error.code not in AGAIN or attempt == ATTEMPTS or late:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _in_session(self, work: Callable[[Session], T]) -> T:
        try:
            with self._driver.session(database=self._settings.database) as session:
                return work(session)
        except (DriverError, Neo4jError, OSError) as error:
            raise translate(error) from None


def send(transaction: Transaction, text: str, sent: Rows, most: int) -> list[dict[str, Any]]:
    """Runs a statement over ``$rows``, at most so many at a time, and answers all its rows."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(sent), most):
        found += _rows(transaction.run(text, rows=sent[start : start + most]))
    return found


def _rows(result: Result) -> list[dict[str, Any]]:
    names = result.keys()
    return [dict(zip(names, record.values(), strict=True)) for record in result]


_NO_ADDRESS = "neo4j.uri names no Neo4j server (it is like bolt://host:7687)"


def _driver(settings: Neo4jSettings) -> Driver:
    password = settings.password.get_secret_value()
    if settings.uri.partition("://")[0] not in SCHEMES:
        raise UserError(_NO_ADDRESS)
    try:
        driver = GraphDatabase.driver(
            settings.uri,
            auth=(settings.user, password) if password else None,
            max_connection_pool_size=settings.pool_size,
            connection_timeout=settings.timeout_seconds,
            connection_acquisition_timeout=settings.timeout_seconds,
            connection_write_timeout=settings.timeout_seconds,
            max_transaction_retry_time=0,
            notifications_min_severity="OFF",
            telemetry_disabled=True,
        )
    except (DriverError, ValueError):
        raise UserError(
            "neo4j.uri is not an address of a Neo4j server (bolt://host:7687)"
        ) from None
    _bound_reads(driver, settings.timeout_seconds)
    return driver


def _bound_reads(driver: Driver, seconds: float) -> None:
    """Makes a server that no longer answers a time-out.

    The driver bounds connecting and writing but waits without end for an answer, unless the server
    asks it not to. There is no setting for it: each new connection is given a limit here.
    """
    pool: Any = driver._pool
    opened = pool.opener

    def bounded(*arguments: Any, **named: Any) -> Any:
        connection = opened(*arguments, **named)
        connection.socket.set_read_timeout(seconds)
        return connection

    pool.opener = bounded
