"""A sink on a Pinecone contract fake of its own, through a proxy that can fail."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.pinecone import Failure, Fake
from deploy.local.pinecone_index import Index
from schemas.records import Store
from sinks.pinecone.settings import PineconeSettings
from sinks.pinecone.store import PineconeStore
from tests.conformance.proxied import ProxiedHarness
from tests.conformance.records import DIMENSIONS

KEY = "a key of the tests"


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


class PineconeHarness(ProxiedHarness):
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "vector"
    patient, impatient = 10.0, 0.4

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stack = contextlib.ExitStack()
        request.addfinalizer(stack.close)
        self.index = Index(DIMENSIONS, folder / "vectors.jsonl")
        self.fake = stack.enter_context(served(self.index))
        super().__init__(self.fake.server_address[1])
        self.outages |= {
            "throttled": lambda: self._failing(Failure(429, count=1_000)),
            "out of order": lambda: self._failing(Failure(503, count=1_000)),
            "key revoked": lambda: self._failing(Failure(401, count=1_000)),
            "vectors refused after markers": lambda: self._failing(
                Failure(500, count=1_000, after=1, path="/vectors/upsert")
            ),
        }

    def make(self, address: str, seconds: float) -> PineconeStore:
        return PineconeStore(
            PineconeSettings.model_validate(
                {
                    "host": f"http://{address}",
                    "api_key": KEY,
                    "dimensions": DIMENSIONS,
                    "timeout_seconds": seconds,
                }
            )
        )

    def dump(self) -> object:
        """All vectors in all namespaces."""
        return {
            name: {
                id_: (record.values.tobytes(), record.metadata)
                for id_, record in self.index.fetch_all(name).items()
            }
            for name in self.index.counts()
        }

    @contextlib.contextmanager
    def _failing(self, failure: Failure) -> Iterator[None]:
        self.open()
        self.fake.fail(failure)
        try:
            yield
        finally:
            self.fake.fail(Failure(count=0))
