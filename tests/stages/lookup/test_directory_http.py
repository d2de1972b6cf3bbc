from __future__ import annotations

import datetime
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from pydantic import SecretStr

import stages.lookup
from deploy.local.directory import DirectoryServer
from schemas.items import UserFacts
from schemas.ports import Unavailable
from stages.lookup import LookupSettings, TomlDirectory
from stages.lookup.directory_http import BATCH, PATH, SPLITS, HttpDirectory
from tests.stages.lookup.test_directory import USERS, pseudonymous
from tests.stages.lookup.test_registry import at


def directory_at(port: int, **more: Any) -> HttpDirectory:
    clock = more.pop("clock", None)
    url = f"http://127.0.0.1:{port}"
    made = LookupSettings(directory="http", directory_url=url, **more)
    return HttpDirectory(made) if clock is None else HttpDirectory(made, clock=clock)


class Served:
    def __init__(self, path: Path, token: str = "", **more: Any) -> None:
        self.path = path
        self.toml = TomlDirectory(path, pseudonymous)
        self.server = DirectoryServer(path, pseudonymous, token)
        self.port = self.server.start()
        self.client = directory_at(self.port, **more)

    def close(self) -> None:
        self.client.close()
        self.server.close()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(tmp_path: Path, clock: Clock) -> Iterator[Served]:
    path = tmp_path / "users.toml"
    path.write_text(USERS, "utf-8")
    made = Served(path, clock=clock)
    yield made
    made.close()


ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
days = st.dates(datetime.date(1960, 1, 1), datetime.date(2030, 1, 1))
moves = st.lists(
    st.tuples(ids, st.none() | days, ids, st.none() | ids),
    unique_by=lambda move: (pseudonymous(move[0]), move[1]),
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(moves=moves, others=st.lists(ids, max_size=4), moments=st.lists(days, min_size=1))
def test_it_answers_what_the_file_answers(
    tmp_path_factory: pytest.TempPathFactory, moves: Any, others: list[str], moments: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("users") / "users.toml"
    entries = []
    for user, day, tenant, organisation in moves:
        values = {"id": user, "tenant": tenant, "organisation": organisation}
        lines = [
            f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items() if v is not None
        ]
        lines += [] if day is None else [f"from = {day}"]
        entries.append("[[users]]\n" + "\n".join(lines))
    path.write_text("\n".join(entries), "utf-8")
    made = Served(path)
    try:
        users = [pseudonymous(move[0]) for move in moves] + others + ["nobody"]
        asked = [
            (user, at(moment.isoformat()) + shift)
            for user in users
            for moment in [*moments, *(move[1] for move in moves if move[1])]
            for shift in (-1, 0)
        ]
        assert list(made.client.lookup(asked)) == list(made.toml.lookup(asked))
    finally:
        made.close()


def test_users_go_out_once_in_batches_and_are_remembered(served: Served, clock: Clock) -> None:
    asked = [(f"u{n % 1_200}", n) for n in range(3_000)] + [("bob", at("2026-03-01"))]
    assert served.client.lookup(asked)[-1] == UserFacts("globex", "Globex Inc", True)
    assert served.server.calls == -(-1_201 // BATCH)
    calls = served.server.calls
    served.client.lookup(asked[::-1])
    assert served.server.calls == calls
    clock.now += 301
    served.client.lookup([("u1", 0)])
    assert served.server.calls == calls + 1


def test_a_user_who_comes_to_be_known_is_found_after_a_while(served: Served, clock: Clock) -> None:
    assert served.client.lookup([("new", 0)]) == [UserFacts()]
    served.server.close()
    served.path.write_text(USERS + '\n[[users]]\nid = "new"\ntenant = "acme"\n', "utf-8")
    again = DirectoryServer(served.path, pseudonymous)
    again.start(served.port)
    try:
        assert served.client.lookup([("new", 0)]) == [UserFacts()]
        clock.now += 301
        assert served.client.lookup([("new", 0)]) == [UserFacts("acme", None, True)]
    finally:
        again.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "rate_limited"), (500, "http_500"), (503, "overloaded"), (401, "unauthenticated"),
     (403, "forbidden"), (302, "http_302"), (404, "not_found")],
)  # fmt: skip
def test_an_error_status_is_a_code_of_ours_and_is_held_off(
    served: Served, clock: Clock, status: int, code: str
) -> None:
    served.server.failures = [(status, {"Retry-After": "7", "Location": "http://127.0.0.1:1/"})]
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            served.client.lookup([("bob", 0)])
        assert (caught.value.what, caught.value.code) == ("directory", code)
    assert served.server.calls == 1
    clock.now += 6.9
    with pytest.raises(Unavailable):
        served.client.lookup([("bob", 0)])
    clock.now += 0.2
    assert served.client.lookup([("bob", 0)]) == [UserFacts()]


def test_who_is_remembered_is_answered_while_it_is_down(served: Served, clock: Clock) -> None:
    known = served.client.lookup([("bob", at("2026-03-01"))])
    served.server.close()
    assert served.client.lookup([("bob", at("2026-03-01"))]) == known
    with pytest.raises(Unavailable) as caught:
        served.client.lookup([("bob", 0), ("amy", 0)])
    assert caught.value.code == "unreachable"
    clock.now += 301
    with pytest.raises(Unavailable):
        served.client.lookup([("bob", 0)])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not json", "malformed_answer"),
        (b'{"users": {"bob": [{"tenant": 7}]}}', "malformed_answer"),
        (b'{"users": {"bob": [{"tenant": "a", "from": "2026-01-01"}]}}', "malformed_answer"),
        (b'{"users": {"bob": [{"tenant": "a"}, {"tenant": "b"}]}}', "malformed_answer"),
        (None, "timeout"),
        (b"", "connection_lost"),
    ],
)
def test_a_broken_or_hanging_answer_is_no_answer(body: bytes | None, code: str) -> None:
    """A server that answers this, drips, or closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            if body is None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return
            elif body:
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)

    thread = threading.Thread(target=serve)
    thread.start()
    seconds = 0.5 if code == "timeout" else 30
    client = directory_at(listener.getsockname()[1], directory_deadline_seconds=seconds)
    try:
        with pytest.raises(Unavailable) as caught:
            client.lookup([("bob", 0)])
        assert caught.value.code == code
        assert "bob" not in str(caught.value)
    finally:
        stop.set()
        thread.join()
        client.close()
        listener.close()


def test_the_token_is_sent_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    path.write_text(USERS, "utf-8")
    made = Served(path, token="s3cret", directory_token=SecretStr("s3cret"))
    wrong = directory_at(made.port, directory_token=SecretStr("other"))
    try:
        assert made.client.lookup([("bob", 0)]) == [UserFacts()]
        with pytest.raises(Unavailable) as caught:
            wrong.lookup([("bob", 0)])
        assert caught.value.code == "unauthenticated"
    finally:
        wrong.close()
        made.close()
    with pytest.raises(ValueError, match="needs TLS"):
        LookupSettings(directory_url="http://10.0.0.1", directory_token=SecretStr("s3cret"))
    assert "s3cret" not in repr(LookupSettings(directory_token=SecretStr("s3cret")))


def contract() -> dict[str, Any]:
    path = Path(stages.lookup.__file__).parent / "directory.openapi.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def test_the_contract_is_openapi_and_says_what_is_sent_and_read() -> None:
    from jsonschema import Draft202012Validator, FormatChecker

    document = contract()
    validate(document)
    (operation,) = document["paths"].values()
    assert list(document["paths"]) == [PATH]
    schemas = document["components"]["schemas"]
    assert schemas["LookupRequest"]["properties"]["users"]["maxItems"] == BATCH
    examples = operation["post"]
    pairs = [
        ("LookupRequest", examples["requestBody"]["content"]["application/json"]["example"]),
        ("LookupAnswer", examples["responses"]["200"]["content"]["application/json"]["example"]),
    ]
    for name, example in pairs:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(example)


def test_what_is_sent_and_answered_fits_the_contract(served: Served) -> None:
    from http.server import BaseHTTPRequestHandler
    from unittest.mock import patch

    from jsonschema import Draft202012Validator, FormatChecker

    from deploy.local import directory

    seen: list[tuple[str, Any]] = []
    send, users = directory._send, directory._users

    def recorded(request: BaseHTTPRequestHandler, status: int, content: Any = None, **more: Any):  # type: ignore[no-untyped-def]
        seen.append(("LookupAnswer", content))
        return send(request, status, content, **more)

    def read(body: bytes) -> Any:
        seen.append(("LookupRequest", json.loads(body)))
        return users(body)

    with patch.object(directory, "_send", recorded), patch.object(directory, "_users", read):
        served.client.lookup([("bob", 0), ("pii_amy", 5), ("nobody", 0), ("bob", 9)])
    assert [name for name, _ in seen] == ["LookupRequest", "LookupAnswer"]
    for name, content in seen:
        schema = {"$ref": f"#/components/schemas/{name}", "components": contract()["components"]}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(content)


class Scripted:
    """A directory that knows everybody, but what is said of some."""

    def __init__(self) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        self.asked: list[list[str]] = []
        self.refused: set[str] = set()
        self.said: dict[str, Any] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                users = json.loads(self.rfile.read(int(self.headers["content-length"])))["users"]
                outer.asked.append(users)
                bad = outer.refused.intersection(users) or "*" in outer.refused
                found = {u: outer.said.get(u, [{"tenant": f"of {u}"}]) for u in users}
                body = b"{}" if bad else json.dumps({"users": found}).encode()
                self.send_response(400 if bad else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.client = directory_at(self._server.server_address[1], clock=lambda: 100.0)

    def close(self) -> None:
        self.client.close()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.close()


def tenants(client: HttpDirectory, users: list[str]) -> list[str | None]:
    """As the stage asks: all at once, and one by one where that does not do."""
    from stages.lookup.stage import _answered

    found = _answered(client.lookup, [(user, n) for n, user in enumerate(users)])
    return [found[user, n].tenant if (user, n) in found else "?" for n, user in enumerate(users)]


@pytest.mark.parametrize(
    "said",
    [None, [{"tenant": 7}], [{"tenant": "a"}, {"tenant": "b"}], [{"from": "nonsense"}], "x"],
)
def test_one_user_that_it_cannot_answer_for_costs_no_other(scripted: Scripted, said: Any) -> None:
    """Else everybody who is ever asked for together with them would wait for ever."""
    users = [f"u{n}" for n in range(40)] * 3
    if said is None:
        scripted.refused = {"u7"}
    else:
        scripted.said = {"u7": said}
    expected = ["?" if user == "u7" else f"of {user}" for user in users]
    assert tenants(scripted.client, users) == expected
    calls = len(scripted.asked)
    assert calls <= 14
    assert tenants(scripted.client, [*users, "new"]) == [*expected, "of new"]
    assert len(scripted.asked) <= calls + 1


def test_a_directory_that_refuses_everybody_is_not_asked_for_ever(scripted: Scripted) -> None:
    scripted.refused = {"*"}
    users = [f"u{n}" for n in range(400)]
    assert set(tenants(scripted.client, users)) == {"?"}
    assert len(scripted.asked) <= 2 * SPLITS + 1


def test_an_empty_id_is_nobodys_and_is_not_asked_for(scripted: Scripted) -> None:
    assert tenants(scripted.client, ["", "u1"]) == [None, "of u1"]
    assert scripted.asked == [["u1"]]
