"""A sink on a Pinecone contract fake of its own, through a proxy that can fail."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.local.pinecone import Failure, Fake
from deploy.local.pinecone_index import Index
from schemas.ports import Sink
from schemas.records import Store
from sinks.pinecone.settings import PineconeSettings
from sinks.pinecone.store import PineconeStore
from tests.conformance.harness import Outage
from tests.conformance.records import DIMENSIONS
from tests.servers.proxy import Proxy

KEY = "a key of the tests"
PATIENT, IMPATIENT = 10.0, 0.4
"""Seconds for a call, as long as the server is well and while it is not."""


@contextlib.contextmanager
def served(index: Index) -> Iterator[Fake]:
    """The fake, in this process."""
    fake = Fake(index, KEY)
    thread = threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.shutdown()
        thread.join()
        fake.server_close()
        index.close()


class PineconeHarness:
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "vector"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        self.index = Index(DIMENSIONS, folder / "vectors.jsonl")
        self.fake = self._stack.enter_context(served(self.index))
        self._proxy = self._stack.enter_context(Proxy(self.fake.server_address[1]))
        self._opened: PineconeStore | None = None
        self.outages: Mapping[str, Outage] = {
            "refused": lambda: self._while(self._proxy.refuse),
            "hanging": lambda: self._while(self._proxy.hang),
            "slow": lambda: self._while(lambda: self._proxy.delay(2 * IMPATIENT)),
            "cut in mid-batch": lambda: self._while(lambda: self._proxy.cut(after=600)),
            "cut before the answer": lambda: self._while(
                lambda: self._proxy.cut(after=100, direction="down")
            ),
            "throttled": lambda: self._failing(Failure(429, count=1_000)),
            "out of order": lambda: self._failing(Failure(503, count=1_000)),
            "key revoked": lambda: self._failing(Failure(401, count=1_000)),
            "vectors refused after markers": lambda: self._failing(
                Failure(500, count=1_000, after=1, path="/vectors/upsert")
            ),
        }

    def open(self, seconds: float = PATIENT) -> Sink[Any]:
        self._close_store()
        self._opened = PineconeStore(
            PineconeSettings.model_validate(
                {
                    "host": f"http://{self._proxy.address}",
                    "api_key": KEY,
                    "dimensions": DIMENSIONS,
                    "timeout_seconds": seconds,
                }
            )
        )
        return self._opened.sink

    def current(self) -> Sink[Any]:
        assert self._opened is not None
        return self._opened.sink

    def dump(self) -> object:
        """All vectors in all namespaces."""
        return {
            name: {
                id_: (record.values.tobytes(), record.metadata)
                for id_, record in self.index.fetch_all(name).items()
            }
            for name in self.index.counts()
        }

    def close(self) -> None:
        self._close_store()
        self._stack.close()

    def _close_store(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @contextlib.contextmanager
    def _while(self, fail: Callable[[], None]) -> Iterator[None]:
        self.open(IMPATIENT)
        fail()
        try:
            yield
        finally:
            self._proxy.heal()

    @contextlib.contextmanager
    def _failing(self, failure: Failure) -> Iterator[None]:
        self.open()
        self.fake.fail(failure)
        try:
            yield
        finally:
            self.fake.fail(Failure(count=0))
