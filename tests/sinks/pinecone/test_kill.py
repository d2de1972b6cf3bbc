"""The server is killed while it is written to: what was confirmed is there, the rest can follow."""

from __future__ import annotations

import threading
from typing import Any

from schemas.ports import WRITTEN
from sinks.pinecone.settings import PineconeSettings
from sinks.pinecone.store import PineconeStore
from tests.conformance.records import content, record


def test_what_was_confirmed_outlives_a_kill(own_server: Any) -> None:
    server = own_server("pinecone")
    address = server.address
    store = PineconeStore(
        PineconeSettings.model_validate(
            {"host": address.host, "api_key": address.api_key, "timeout_seconds": 20}
        )
    )
    store.check()
    confirmed: set[int] = set()
    outcomes: set[str] = set()
    enough, back = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not (back.is_set() and outcomes >= {"written", "unavailable"}):
            batch = list(range(number, number + 20))
            results = store.sink.write([record("vector", n) for n in batch])  # type: ignore[arg-type]
            outcomes.update(result.status for result in results)
            confirmed.update(n for n, r in zip(batch, results, strict=True) if r == WRITTEN)
            number = (number + 20) % 400
            if len(confirmed) >= 60:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(120)
    server.kill()
    while "unavailable" not in outcomes:
        threading.Event().wait(0.01)
    server.restart()
    back.set()
    writer.join()
    wanted = {record("vector", n).stamp.record_id: record("vector", n) for n in confirmed}
    found = store.sink.fetch(list(wanted))
    assert {key: held.content for key, held in found.items()} == {
        key: content(one) for key, one in wanted.items()
    }
    rest = [record("vector", n) for n in range(400)]
    assert set(store.sink.write(rest)) == {WRITTEN}  # type: ignore[arg-type]
    assert store.sink.count() == 400
    store.close()
