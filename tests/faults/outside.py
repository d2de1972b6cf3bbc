"""What a worker talks to beside its log and stores: a collector of spans, registry, directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from deploy.local import directory
from deploy.local.directory import DirectoryServer
from deploy.local.registry import RegistryServer
from stages.lookup import shipped_models
from tests.faults.fleet import FleetBench
from tests.faults.test_services import screen_of


class Collector:
    """Keeps what is sent to it with OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    @contextmanager
    def served(self) -> Iterator[Collector]:
        thread = Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class Services:
    """Registry and directory on ports that they keep, and what they were asked."""

    def __init__(self, bench: FleetBench, users: set[str], patch: pytest.MonkeyPatch) -> None:
        self.asked: list[bytes] = []
        self._listed = bench.folder.parent / "users.toml"
        self._listed.write_text(
            "".join(
                f'[[users]]\nid = {json.dumps(user)}\ntenant = "acme"\norganisation = "Acme"\n'
                "from = 2026-01-01\n"
                for user in sorted(users)
            ),
            "utf-8",
        )
        with bench.signed_in():
            self._screen = screen_of(bench.settings())
        self._ports = [0, 0]
        self.up = False
        answer, batch = directory._users, RegistryServer.BatchGetModels

        def users_of(body: bytes) -> Any:
            self.asked.append(body)
            return answer(body)

        def models_of(server: RegistryServer, request: Any, context: Any) -> Any:
            self.asked.append("\n".join(request.model_ids).encode())
            return batch(server, request, context)

        patch.setattr(directory, "_users", users_of)
        patch.setattr(RegistryServer, "BatchGetModels", models_of)

    def start(self) -> None:
        self._registry = RegistryServer([shipped_models()])
        self._directory = DirectoryServer(self._listed, self._screen)
        self._ports = [
            self._registry.start(self._ports[0]),
            self._directory.start(self._ports[1]),
        ]
        self.up = True

    def stop(self) -> None:
        if self.up:
            self._registry.close()
            self._directory.close()
        self.up = False

    def settings(self, bench: FleetBench) -> None:
        """Writes them into the bench's file."""
        text = bench.config.read_text("utf-8").replace(
            "[lookup]\n",
            '[lookup]\nregistry = "grpc"\nregistry_plaintext = true\ndirectory = "http"\n'
            f'registry_address = "127.0.0.1:{self._ports[0]}"\n'
            f'directory_url = "http://127.0.0.1:{self._ports[1]}"\n'
            "registry_deadline_seconds = 60\ndirectory_deadline_seconds = 60\n",
        )
        bench.config.write_text(text, "utf-8")
