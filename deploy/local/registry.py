"""A reference model registry: ``llm.registry.v1`` over price lists in TOML.

    python -m deploy.local.registry --port 50051 --models prices.toml [--cert C.pem --key K.pem]

Serves the shipped list with ``--models`` files over it, and tells its subscribers of every model
that changes when a file does. A name is answered as the lists answer it: ``provider:name`` at that
provider, a bare name at the first provider that has it; other spellings are the client's affair.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from schemas.proto import registry_pb2 as pb
from schemas.proto.registry_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from stages.lookup import FileError, TomlRegistry, shipped_models
from stages.lookup.prices import Model
from stages.lookup.registry_wire import qualified, to_message

POLL_SECONDS = 0.2
MOST_CALLS = 64
"""Threads: one for each subscriber, and for the calls beside them."""

Models = Mapping[tuple[str, str], Model]


class RegistryServer(RegistryServiceServicer):
    """The service over TOML files. Start it, and close it from the same thread."""

    def __init__(self, paths: Sequence[Path], version: str = "models.toml") -> None:
        """Raises FileError for a file it cannot use."""
        self._paths = tuple(paths)
        self._version = version
        self._lock = threading.Lock()
        self._subscribers: list[SimpleQueue[pb.ModelUpdate]] = []
        self._stop = threading.Event()
        self._seen = self._stamps()
        self._models: Models = {}
        self._answers: dict[str, pb.Model] = {}
        self._load()
        self._server: grpc.Server | None = None
        self._watcher = threading.Thread(target=self._watch, name="registry-files", daemon=True)
        self.calls = 0

    def start(
        self, port: int = 0, *, host: str = "127.0.0.1", certificate: bytes = b"", key: bytes = b""
    ) -> int:
        """Listens, with TLS where a certificate is given; answers the port."""
        server = grpc.server(
            futures.ThreadPoolExecutor(MOST_CALLS), options=(("grpc.so_reuseport", 0),)
        )
        add_RegistryServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        address = f"{host}:{port}"
        if certificate:
            credentials = grpc.ssl_server_credentials([(key, certificate)])
            bound = server.add_secure_port(address, credentials)
        else:
            bound = server.add_insecure_port(address)
        server.start()
        self._server = server
        self._watcher.start()
        return bound

    def close(self) -> None:
        """Ends every call."""
        self._stop.set()
        if self._server is not None:
            self._server.stop(grace=0).wait()
            self._watcher.join()

    def reload(self) -> int:
        """Reads the files again; answers how many models changed. Raises FileError."""
        updates = self._load()
        with self._lock:
            for queue in self._subscribers:
                for update in updates:
                    queue.put(update)
        return len(updates)

    @property
    def subscribers(self) -> int:
        """How many clients follow the updates."""
        with self._lock:
            return len(self._subscribers)

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        """The model of one name; NOT_FOUND where there is none."""
        self.calls += 1
        found = self._answers.get(request.model_id)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return pb.GetModelResponse(model=found)

    def BatchGetModels(  # noqa: N802
        self,
        request: pb.BatchGetModelsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.BatchGetModelsResponse:
        """The models of those names that are known."""
        self.calls += 1
        answers = self._answers
        return pb.BatchGetModelsResponse(
            models={name: answers[name] for name in request.model_ids if name in answers}
        )

    def StreamModelUpdates(  # noqa: N802
        self,
        request: pb.StreamModelUpdatesRequest,  # noqa: ARG002
        context: Any,
    ) -> Iterator[pb.ModelUpdate]:
        """Every change from now on."""
        queue: SimpleQueue[pb.ModelUpdate] = SimpleQueue()
        with self._lock:
            self._subscribers.append(queue)
        try:
            # A subscriber knows from this that it misses nothing any more.
            context.send_initial_metadata(())
            while context.is_active() and not self._stop.is_set():
                try:
                    yield queue.get(timeout=POLL_SECONDS)
                except Empty:
                    continue
        finally:
            with self._lock:
                self._subscribers.remove(queue)

    def _load(self) -> list[pb.ModelUpdate]:
        registry = TomlRegistry(*self._paths)
        answers = {name: to_message(model, self._version) for name, model in registry.first.items()}
        for (provider, name), model in registry.names.items():
            answers.setdefault(qualified(provider, name), to_message(model, self._version))
        before, self._models = self._models, registry.models
        self._answers = answers
        return self._changes(before, registry.models)

    def _changes(self, before: Models, now: Models) -> list[pb.ModelUpdate]:
        kinds = pb.ModelUpdate
        changes = [
            (kinds.UPDATED if key in before else kinds.CREATED, model)
            for key, model in now.items()
            if before.get(key) != model
        ]
        changes += [(kinds.DEPRECATED, model) for key, model in before.items() if key not in now]
        updates = []
        for kind, model in changes:
            update = pb.ModelUpdate(type=kind, model=to_message(model, self._version))
            update.timestamp.GetCurrentTime()
            updates.append(update)
        return updates

    def _stamps(self) -> list[tuple[int, int]]:
        found = []
        for path in self._paths:
            try:
                stat = path.stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((stat.st_mtime_ns, stat.st_size))
        return found

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            stamps = self._stamps()
            if stamps == self._seen:
                continue
            self._seen = stamps
            try:
                changed = self.reload()
            except FileError as error:
                print(f"registry: {error}; the list before it is served on", file=sys.stderr)  # noqa: T201
            else:
                print(f"registry: {changed} models changed", flush=True)  # noqa: T201


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="registry", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=50051, help="0: a free one, which is printed")
    parser.add_argument("--models", type=Path, action="append", default=[], help="a price list")
    parser.add_argument("--only", action="store_true", help="leave the shipped list out")
    parser.add_argument(
        "--plaintext", action="store_true", help="without TLS also where others can reach it"
    )
    parser.add_argument("--cert", type=Path, help="PEM certificate chain")
    parser.add_argument("--key", type=Path, help="PEM private key")
    options = parser.parse_args(argv)
    tls = bool(options.cert and options.key)
    if not tls and not options.plaintext and options.host not in ("127.0.0.1", "::1", "localhost"):
        parser.error("say either --cert and --key, or --plaintext")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        shipped = () if options.only else (shipped_models(),)
        server = RegistryServer([*shipped, *options.models])
        certificate = options.cert.read_bytes() if tls else b""
        key = options.key.read_bytes() if tls else b""
    except FileError as error:
        print(f"registry: {error}", file=sys.stderr)  # noqa: T201
        return 2
    port = server.start(options.port, host=options.host, certificate=certificate, key=key)
    print(f"registry: listening on {options.host}:{port}", flush=True)  # noqa: T201
    stop.wait()
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
