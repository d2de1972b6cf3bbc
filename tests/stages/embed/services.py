"""Stand-ins of the embedding services: their paths, JSON and errors as they document them."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Answer = tuple[int, dict[str, str], Any]


def values(text: str, dimensions: int) -> list[float]:
    """A vector that tells its text, not of unit length."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    found: list[float] = np.random.default_rng(seed).standard_normal(dimensions).tolist()
    return found


def unit(text: str, dimensions: int) -> bytes:
    """What an embedder makes of it."""
    vector = np.array(values(text, dimensions), np.float32).astype(np.float64)
    return (vector / np.linalg.norm(vector)).astype("<f4").tobytes()


class Service:
    """Answers POSTs by ``api``; ``failures`` come first, then as long as ``refuses`` says so."""

    def __init__(self, api: Callable[[str, dict[str, str], Any], Answer]) -> None:
        self.api = api
        self.failures: list[Answer] = []
        self.refuses: Callable[[Sequence[str]], bool] = lambda _: False
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.hang = threading.Event()
        self.hang.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, headers, content = outer._answer(self.path, dict(self.headers), body)
                sent = json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, path: str, headers: dict[str, str], body: Any) -> Answer:
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in headers.items()})
        self.hang.wait(10)
        if self.failures:
            return self.failures.pop(0)
        if self.refuses(body.get("input") or body.get("texts")):
            return 400, {}, {"error": {"message": "bad: " + json.dumps(body), "type": "invalid"}}
        return self.api(path, headers, body)

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()


def openai(path: str, headers: dict[str, str], body: Any) -> Answer:
    """POST /v1/embeddings."""
    if path != "/v1/embeddings":
        return 404, {}, {"error": {"message": "Unknown request URL", "code": "unknown_url"}}
    lower = {name.lower(): value for name, value in headers.items()}
    if "Bearer sk-test" not in (lower.get("authorization", "")):
        error = {"message": "Incorrect API key provided: sk-…", "type": "invalid_request_error",
                 "param": None, "code": "invalid_api_key"}  # fmt: skip
        return 401, {}, {"error": error}
    size = body.get("dimensions", 1536)
    texts = body["input"]
    assert 1 <= len(texts) <= 2048
    assert all(texts)
    vectors = [values(text, size) for text in texts]
    encoded = [base64.b64encode(np.array(v, "<f4").tobytes()).decode() for v in vectors]
    shown: Sequence[Any] = encoded if body.get("encoding_format") == "base64" else vectors
    data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(shown)]
    tokens = sum(len(text.split()) for text in texts)
    return 200, {}, {
        "object": "list", "data": data[::-1], "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }  # fmt: skip


def cohere(path: str, headers: dict[str, str], body: Any) -> Answer:
    """POST /v2/embed."""
    if path != "/v2/embed":
        return 404, {}, {"message": "not found"}
    texts = body["texts"]
    assert 1 <= len(texts) <= 96
    assert body["embedding_types"] == ["float"]
    size = body.get("output_dimension", 1536)
    tokens = sum(len(text.split()) for text in texts)
    # A query has another vector than a document.
    mark = "? " if body["input_type"] == "search_query" else ""
    return 200, {}, {
        "id": "0d0f2b9e", "texts": texts,
        "embeddings": {"float": [values(mark + text, size) for text in texts]},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
    }  # fmt: skip
