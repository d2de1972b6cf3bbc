"""A reference user directory: stages/lookup/directory.openapi.yaml over a TOML file.

    python -m deploy.local.directory --port 8085 --users users.toml [--config settings.toml]

With ``--config``, ids that are personal data are known by the pseudonyms that the worker of these
settings makes of them (it needs the worker's key); without, ids count as they stand in the file.
``MEMORY_DIRECTORY_TOKEN``, where it is set, is the bearer token that every request has to carry.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stages.lookup import FileError, TomlDirectory
from stages.lookup.directory_http import BATCH, PATH
from stages.lookup.memberships import ALWAYS, Memberships

TOKEN = "MEMORY_DIRECTORY_TOKEN"
MOST_BYTES = 1 << 20
POLL_SECONDS = 0.2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DirectoryServer:
    """The service over a TOML file, read again when it changes."""

    def __init__(self, users: Path, screen: Callable[[str], str], token: str = "") -> None:
        """Raises FileError for a file it cannot use."""
        self._path = users
        self._screen = screen
        self._token = token
        self._seen = self._stamp()
        self._directory = TomlDirectory(users, screen)
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self._stop = threading.Event()
        self.failures: list[tuple[int, dict[str, str]]] = []
        """Statuses and headers to answer with before anything else: a test's outages."""
        self.calls = 0

    def start(self, port: int = 0, *, host: str = "127.0.0.1") -> int:
        """Listens; answers the port."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer._connections.add(self.connection)

            def finish(self) -> None:
                outer._connections.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                """A request's line says nothing that is worth a line of a log."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._stop.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answers one POST."""
        self.calls += 1
        length = int(request.headers.get("content-length", "0"))
        if length > MOST_BYTES:
            request.close_connection = True
            return _send(request, 413)
        body = request.rfile.read(length)
        if self.failures:
            status, headers = self.failures.pop(0)
            return _send(request, status, headers=headers)
        given = request.headers.get("authorization", "")
        if self._token and not hmac.compare_digest(given, f"Bearer {self._token}"):
            return _send(request, 401)
        if request.path != PATH:
            return _send(request, 404)
        users = _users(body)
        if users is None:
            return _send(request, 400)
        if len(users) > BATCH:
            return _send(request, 413)
        known = self._directory.users
        found = {user: _history(known[user]) for user in users if user in known}
        return _send(request, 200, {"users": found})

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_size

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            stamp = self._stamp()
            if stamp == self._seen:
                continue
            self._seen = stamp
            try:
                self._directory = TomlDirectory(self._path, self._screen)
            except FileError as error:
                print(f"directory: {error}; the list before it is served on", file=sys.stderr)  # noqa: T201


def _users(body: bytes) -> list[str] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    users = found.get("users") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(users, list) or not users:
        return None
    return users if all(isinstance(user, str) and user for user in users) else None


def _history(memberships: Memberships) -> list[dict[str, str | None]]:
    return [
        {
            "tenant": facts.tenant,
            "organisation": facts.organisation,
            "from": None if start == ALWAYS else _moment(start),
        }
        for start, facts in zip(memberships.starts, memberships.facts, strict=True)
    ]


def _moment(time: int) -> str:
    return (_EPOCH + timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    content: Any = None,
    headers: dict[str, str] | None = None,
) -> None:
    body = b"" if content is None else json.dumps(content).encode()
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _screen(config: Path | None) -> Callable[[str], str]:
    if config is None:
        return str
    from flows.keys import load_keys
    from flows.pipeline import build_pii
    from flows.settings import load_settings

    settings = load_settings(config)
    return build_pii(settings, load_keys(settings.data, create=False)).screen_identifier


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="directory", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8085, help="0: a free one, which is printed")
    parser.add_argument("--users", type=Path, required=True, help="the users' TOML file")
    parser.add_argument("--config", type=Path, help="the worker's settings")
    options = parser.parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        screen = _screen(options.config)
        server = DirectoryServer(options.users, screen, os.environ.get(TOKEN, ""))
    except FileError as error:
        print(f"directory: {error}", file=sys.stderr)  # noqa: T201
        return 2
    port = server.start(options.port, host=options.host)
    print(f"directory: listening on {options.host}:{port}", flush=True)  # noqa: T201
    stop.wait()
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
