"""A small HTTP server for probes and scrapers: a few pages, made anew for every request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

import msgspec

from schemas.failures import UserError

CONNECTIONS = 16
"""Requests at a time; one more is turned away."""
PATIENCE = 10.0
"""Seconds in which a client has to say what it wants."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    type: str
    body: bytes


Page = Callable[[str], Answer]
"""Makes a page; gets the request's Accept header."""


def json_answer(status: int, value: Any) -> Answer:
    """A value as JSON."""
    return Answer(status, "application/json", msgspec.json.encode(value) + b"\n")


class Pages:
    """Serves ``pages`` by path until it is closed, in threads of its own.

    One request a connection, and nobody waits for a client at the end: one that keeps its
    connection open or never asks holds up neither the others nor :meth:`close`. Port 0 chooses a
    free one. Raises :class:`UserError` where it cannot listen.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        try:
            self._server = _Server((host, port), _handler(pages))
        except (OSError, OverflowError):
            raise UserError(
                f"Health and metrics cannot be served on {host}:{port}: the address is in use or "
                "not ours. Choose another with --metrics-port."
            ) from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """As the base class, which would look the host's name up."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # No thread for it: nobody else gives its room back.
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event for the log."""


def _handler(pages: Mapping[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "memory-graph"
        sys_version = ""
        timeout = PATIENCE

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                answer = json_answer(404, {"pages": sorted(pages)})
            else:
                answer = page(self.headers.get("Accept", ""))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged."""

    return Handler
