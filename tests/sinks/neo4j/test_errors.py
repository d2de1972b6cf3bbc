"""Errors are told apart by class and code; what the database does not take is found in a batch."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
from neo4j import Transaction
from neo4j.exceptions import (
    ConfigurationError,
    ConnectionAcquisitionTimeoutError,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
)

from schemas.ports import WRITTEN, Unavailable
from schemas.records import GraphRecord, NodeWrite
from sinks.neo4j import client as client_module
from sinks.neo4j.client import ATTEMPTS, Client
from sinks.neo4j.errors import AGAIN, translate
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.sink import SPLITS, Neo4jSink
from tests.conformance.records import stamp

SECRET = "a value of somebody's event"


def server_error(code: str) -> Neo4jError:
    return Neo4jError._hydrate_neo4j(code=code, message=SECRET)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("Neo.TransientError.Transaction.DeadlockDetected", "deadlock"),
        ("Neo.TransientError.General.MemoryPoolOutOfMemoryError", "out_of_memory"),
        ("Neo.TransientError.General.SomethingNew", "transient"),
        ("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration", "too_slow"),
        ("Neo.ClientError.Security.Unauthorized", "auth"),
        ("Neo.ClientError.Security.Forbidden", "forbidden"),
        ("Neo.ClientError.Security.CredentialsExpired", "auth"),
        ("Neo.ClientError.Database.DatabaseNotFound", "no_database"),
        ("Neo.ClientError.Schema.ConstraintValidationFailed", "constraint"),
        ("Neo.ClientError.Statement.EntityNotFound", "gone"),
        ("Neo.ClientError.Statement.TypeError", "refused_value"),
        ("Neo.ClientError.Statement.SyntaxError", "bad_statement"),
        ("Neo.DatabaseError.Statement.ExecutionFailed", "server_error"),
        ("Neo.SomethingElse", "server_error"),
    ],
)
def test_codes_of_the_server(code: str, ours: str) -> None:
    found = translate(server_error(code))
    assert found.code == ours
    assert SECRET not in str(found)


def because(cause: BaseException, error: BaseException | None = None) -> BaseException:
    error = error or ServiceUnavailable(SECRET)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (because(ConnectionRefusedError()), "refused"),
        (because(TimeoutError(), SessionExpired()), "timeout"),
        (because(because(TimeoutError(), OSError())), "timeout"),
        (because(ssl.SSLError()), "tls"),
        (ServiceUnavailable(SECRET), "disconnected"),
        (because(ConnectionResetError()), "disconnected"),
        (BrokenPipeError(), "disconnected"),
        (ConnectionAcquisitionTimeoutError(SECRET), "pool_exhausted"),
        (ConfigurationError(SECRET), "bad_settings"),
    ],
)
def test_errors_of_the_driver(error: BaseException, ours: str) -> None:
    found = translate(error)
    assert found.code == ours
    assert SECRET not in str(found)


class Scripted(Client):
    """A client whose transactions end as a script says, without a server."""

    def __init__(
        self, settings: Neo4jSettings, ends: Callable[[Any], set[str]], *, takes: bool = True
    ) -> None:
        super().__init__(settings)
        self.ends = ends
        self.takes = takes

    def run(self, work: Callable[[Transaction], Any]) -> Any:
        cells = {
            name: cell.cell_contents
            for name, cell in zip(work.__code__.co_freevars, work.__closure__ or (), strict=True)
        }
        return self.ends(cells["records"])

    def rows(self, text: str, **parameters: Any) -> list[dict[str, Any]]:
        if not self.takes:
            raise Unavailable("graph", "server_error")
        return [{"key": "graph"}]


def records(count: int) -> list[GraphRecord]:
    return [
        GraphRecord(stamp(n), (NodeWrite("Prompt", stamp(n).id, properties={}),), ())
        for n in range(count)
    ]


@pytest.fixture
def settings() -> Neo4jSettings:
    return Neo4jSettings(uri="bolt://127.0.0.1:1", timeout_seconds=5)


def failing(code: str, bad: set[str]) -> Callable[[Any], set[str]]:
    def ends(prepared: Any) -> set[str]:
        if bad & {record.stamp["id"] for record in prepared}:
            raise Unavailable("graph", code)
        return set()

    return ends


@pytest.mark.parametrize(
    ("code", "takes", "result"),
    [
        ("refused_value", True, ("rejected", "refused_value")),
        ("server_error", True, ("rejected", "refused_record")),
        ("server_error", False, ("unavailable", "server_error")),
        ("out_of_memory", True, ("unavailable", "out_of_memory")),
    ],
)
def test_a_poisoned_record_is_found_in_its_batch(
    settings: Neo4jSettings, code: str, takes: bool, result: tuple[str, str]
) -> None:
    client = Scripted(settings, failing(code, {stamp(37).id}), takes=takes)
    results = Neo4jSink(client, settings).write(records(100))
    assert [result.status for result in results[:37]] == ["written"] * 37
    assert (results[37].status, results[37].code) == result
    assert [result.status for result in results[38:]] == ["written"] * 62


def test_a_record_that_fails_alone_is_tried_again_before_it_is_given_up(
    settings: Neo4jSettings,
) -> None:
    tried: list[int] = []

    def ends(_: Any) -> set[str]:
        tried.append(1)
        if len(tried) == 1:
            raise Unavailable("graph", "server_error")
        return set()

    assert Neo4jSink(Scripted(settings, ends), settings).write(records(1)) == [WRITTEN]


def test_what_is_too_much_at_once_passes_in_parts(settings: Neo4jSettings) -> None:
    sizes: list[int] = []

    def ends(prepared: Any) -> set[str]:
        sizes.append(len(prepared))
        if len(prepared) > 30:
            raise Unavailable("graph", "out_of_memory")
        return set()

    sink = Neo4jSink(Scripted(settings, ends), settings)
    assert {result.status for result in sink.write(records(100))} == {"written"}
    assert max(sizes) == 100


@pytest.mark.parametrize("code", ["timeout", "too_slow"])
def test_a_slow_server_is_given_less_at_once_and_later_more(
    settings: Neo4jSettings, code: str
) -> None:
    sizes: list[int] = []
    bearable = 60

    def ends(prepared: Any) -> set[str]:
        sizes.append(len(prepared))
        if len(prepared) > bearable:
            raise Unavailable("graph", code)
        return set()

    sink = Neo4jSink(Scripted(settings, ends), settings)
    tries = 0
    while {result.status for result in sink.write(records(400))} != {"written"}:
        tries += 1
        assert tries < 6, "it does not learn"
    bearable = 1_000
    for _ in range(6):
        sink.write(records(400))
    assert max(sizes[-2:]) == 400


def test_a_server_that_takes_nothing_is_not_asked_for_each_record(settings: Neo4jSettings) -> None:
    asked: list[int] = []

    def ends(prepared: Any) -> set[str]:
        asked.append(len(prepared))
        raise Unavailable("graph", "server_error")

    sink = Neo4jSink(Scripted(settings, ends, takes=False), settings)
    results = sink.write(records(400))
    assert {(result.status, result.code) for result in results} == {("unavailable", "server_error")}
    assert len(asked) <= 2 * SPLITS + 2


@pytest.mark.parametrize("code", sorted(AGAIN))
def test_what_other_writers_cause_is_tried_again_at_once(
    settings: Neo4jSettings, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{client_module.__name__}.time.sleep", lambda _: None)
    tried: list[int] = []

    def fails(times: int) -> Callable[[Any], str]:
        def once(_: Any) -> str:
            tried.append(1)
            if len(tried) <= times:
                raise Unavailable("graph", code)
            return "done"

        return once

    client = Client(settings)
    monkeypatch.setattr(client, "_in_session", lambda work: work(None))
    assert client._retried(fails(ATTEMPTS - 1)) == "done"
    tried.clear()
    with pytest.raises(Unavailable) as raised:
        client._retried(fails(ATTEMPTS))
    assert (raised.value.code, len(tried)) == (code, ATTEMPTS)
