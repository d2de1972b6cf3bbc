"""A contract fake of Pinecone's data plane, to be used through the real client.

``python -m deploy.local.pinecone --port 0 [--dimension 384] [--data FILE] [--lag SECONDS]``; the
API key is in ``PINECONE_API_KEY``. It prints its address when it listens. ``POST /_fake/fail`` with
``{"status": 429, "count": 3, "after": 0, "retry_after": 1, "delay": 0.5, "path": "/query"}`` makes
the next ``count`` requests fail (``status`` 0 closes the connection; without ``status`` they are
only delayed), ``GET /_fake/requests`` answers how many requests came, by path and status.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import orjson

from deploy.local.pinecone_index import DEFAULT, MOST_METADATA, BadRequest, Index, Record

HOST = "127.0.0.1"
MOST_BODY = 2 << 20
_CODES = {400: 3, 401: 16, 404: 5, 413: 3, 429: 8}
"""gRPC codes, as the API's error bodies carry them."""


class Failure(msgspec.Struct):
    """What is to go wrong with the next ``count`` requests of ``path`` (empty: any)."""

    status: int | None = None
    count: int = 1
    after: int = 0
    retry_after: float | None = None
    delay: float = 0.0
    path: str = ""


class Fake(ThreadingHTTPServer):
    """The server; :meth:`serve_forever` runs it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, index: Index, key: str, port: int = 0, host: str = HOST) -> None:
        super().__init__((host, port), Handler)
        self.index = index
        self.key = key
        self.requests: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"

    def fail(self, failure: Failure) -> None:
        """From now on; a count of 0 takes back all failures."""
        with self._lock:
            if failure.count:
                self._failures.append(failure)
            else:
                self._failures.clear()

    def failing(self, path: str) -> Failure | None:
        """What is to go wrong with this request."""
        with self._lock:
            for failure in self._failures:
                if failure.path in ("", path):
                    if failure.after:
                        failure.after -= 1
                        return None
                    failure.count -= 1
                    if not failure.count:
                        self._failures.remove(failure)
                    return failure
        return None

    def note(self, path: str, status: int) -> None:
        with self._lock:
            self.requests[f"{path} {status}"] += 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Fake
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a path holds namespaces and ids."""

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not hmac.compare_digest(
            self.headers.get("Api-Key", "").encode(), self.server.key.encode()
        ):
            return self._refuse(401, "Invalid API Key")
        if url.path.startswith("/_fake/"):
            return self._control(url.path, body)
        failure = self.server.failing(url.path)
        if failure is not None:
            time.sleep(failure.delay)
            if failure.status == 0:
                self.close_connection = True
                self.server.note(url.path, 0)
                return None
            if failure.status is not None:
                return self._refuse(failure.status, "Failing as told", failure.retry_after)
        if len(body) > MOST_BODY:
            return self._refuse(413, "Request size exceeds the limit of 2 MB")
        try:
            request = msgspec.json.decode(body) if body else {}
        except msgspec.DecodeError:
            return self._refuse(400, "Invalid JSON")
        handle = _ROUTES.get((method, url.path)) or _named_route(method, url.path)
        if handle is None:
            return self._refuse(404, "Not Found")
        try:
            return self._send(
                200, handle(self.server.index, request, parse_qs(url.query), url.path)
            )
        except BadRequest as error:
            return self._refuse(error.status, str(error))

    def _control(self, path: str, body: bytes) -> None:
        if path == "/_fake/fail":
            self.server.fail(msgspec.json.decode(body, type=Failure))
            return self._send(200, {}, counted=False)
        return self._send(200, dict(self.server.requests), counted=False)

    def _refuse(self, status: int, message: str, retry_after: float | None = None) -> None:
        self._send(
            status,
            {"code": _CODES.get(status, 13), "message": message, "details": []},
            {} if retry_after is None else {"Retry-After": f"{retry_after:g}"},
        )

    def _send(
        self,
        status: int,
        answer: Any,
        headers: dict[str, str] | None = None,
        *,
        counted: bool = True,
    ) -> None:
        if counted:
            self.server.note(urlsplit(self.path).path, status)
        body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-pinecone-lsn-committed", str(self.server.index.sequence))
        self.send_header("x-pinecone-lsn-reconciled", str(self.server.index.seen))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


Query = dict[str, list[str]]
Route = Callable[[Index, Any, Query, str], Any]


def _first(query: Query, name: str, default: str = "") -> str:
    return query.get(name, [default])[0]


def _vector(id_: str, record: Record) -> dict[str, Any]:
    return {"id": id_, "values": record.values, "metadata": record.metadata}


def _upsert(index: Index, request: Any, _query: Query, _path: str) -> Any:
    return {"upsertedCount": index.upsert(request.get("namespace", ""), request.get("vectors"))}


def _delete(index: Index, request: Any, _query: Query, _path: str) -> Any:
    index.delete(request.get("namespace", ""), request)
    return {}


def _update(index: Index, request: Any, _query: Query, _path: str) -> Any:
    index.update(request.get("namespace", ""), request)
    return {}


def _fetch(index: Index, _request: Any, query: Query, _path: str) -> Any:
    namespace = _first(query, "namespace")
    found = index.fetch(namespace, query.get("ids"))
    vectors = {id_: _vector(id_, record) for id_, record in found.items()}
    return {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}}


def _fetch_by_metadata(index: Index, request: Any, _query: Query, _path: str) -> Any:
    namespace = request.get("namespace", "")
    found, following = index.fetch_by_metadata(
        namespace,
        request.get("filter"),
        request.get("limit", 100),
        request.get("paginationToken", ""),
    )
    answer = {
        "vectors": {id_: _vector(id_, record) for id_, record in found},
        "namespace": namespace,
        "usage": {"readUnits": 1},
    }
    return answer | ({"pagination": {"next": following}} if following else {})


def _list(index: Index, _request: Any, query: Query, _path: str) -> Any:
    found, following = index.list_ids(
        _first(query, "namespace"),
        _first(query, "prefix"),
        int(_first(query, "limit", "100")),
        _first(query, "paginationToken"),
    )
    answer = {
        "vectors": [{"id": id_} for id_ in found],
        "namespace": _first(query, "namespace"),
        "usage": {"readUnits": 1},
    }
    return answer | ({"pagination": {"next": following}} if following else {})


def _query(index: Index, request: Any, _query: Query, _path: str) -> Any:
    matches = []
    for id_, score, record in index.query(request.get("namespace", ""), request):
        match: dict[str, Any] = {"id": id_, "score": score, "values": []}
        if request.get("includeValues"):
            match["values"] = record.values
        if request.get("includeMetadata"):
            match["metadata"] = record.metadata
        matches.append(match)
    return {
        "matches": matches,
        "namespace": request.get("namespace", ""),
        "usage": {"readUnits": 1},
    }


def _stats(index: Index, request: Any, _query: Query, _path: str) -> Any:
    if request.get("filter"):
        raise BadRequest("Serverless indexes do not support describing stats with a filter")
    counts = index.counts()
    return {
        "namespaces": {name: {"vectorCount": count} for name, count in counts.items()},
        "dimension": index.dimension,
        "indexFullness": 0,
        "totalVectorCount": sum(counts.values()),
        "metric": "cosine",
        "vectorType": "dense",
    }


def _namespaces(index: Index, _request: Any, query: Query, _path: str) -> Any:
    prefix = _first(query, "prefix")
    after = _first(query, "paginationToken")
    limit = int(_first(query, "limit", "100"))
    counts = index.counts()
    found = sorted(name for name in counts if name.startswith(prefix) and name > after)
    answer: dict[str, Any] = {
        "namespaces": [{"name": name, "record_count": str(counts[name])} for name in found[:limit]],
        "total_count": len(found),
    }
    return answer | ({"pagination": {"next": found[limit - 1]}} if len(found) > limit else {})


def _describe(index: Index, _request: Any, _query: Query, path: str) -> Any:
    name = unquote(path.removeprefix("/namespaces/"))
    counts = index.counts()
    if name not in counts and name != DEFAULT:
        raise BadRequest("Namespace not found", 404)
    return {"name": name, "record_count": str(counts.get(name, 0))}


def _drop(index: Index, _request: Any, _query: Query, path: str) -> Any:
    index.drop(unquote(path.removeprefix("/namespaces/")))
    return {}


_ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/vectors/upsert"): _upsert,
    ("POST", "/vectors/delete"): _delete,
    ("POST", "/vectors/update"): _update,
    ("GET", "/vectors/fetch"): _fetch,
    ("POST", "/vectors/fetch_by_metadata"): _fetch_by_metadata,
    ("GET", "/vectors/list"): _list,
    ("POST", "/query"): _query,
    ("POST", "/describe_index_stats"): _stats,
    ("GET", "/describe_index_stats"): _stats,
    ("GET", "/namespaces"): _namespaces,
}


def _named_route(method: str, path: str) -> Route | None:
    if not path.startswith("/namespaces/"):
        return None
    return {"GET": _describe, "DELETE": _drop}.get(method)


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="deploy.local.pinecone", description=__doc__)
    parser.add_argument("--host", default=HOST, help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--dimension", type=int, default=384, help="length of every vector")
    parser.add_argument(
        "--data", type=Path, default=Path("vectors.jsonl"), help="where it keeps all"
    )
    parser.add_argument("--lag", type=float, default=0.0, help="seconds until a write is seen")
    parser.add_argument(
        "--metadata", type=int, default=MOST_METADATA, help="most bytes of a record's metadata"
    )
    given = parser.parse_args(argv)
    key = os.environ.get("PINECONE_API_KEY", "")
    if not key:
        parser.error("PINECONE_API_KEY is not set")
    index = Index(given.dimension, given.data, given.lag, most_metadata=given.metadata)
    server = Fake(index, key, given.port, given.host)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(json.dumps({"host": server.address}) + "\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.05)
    server.index.close()


if __name__ == "__main__":
    main()
