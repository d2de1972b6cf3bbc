"""What was acknowledged is there after the server was killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from schemas.ports import WRITTEN
from schemas.records import Record
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.store import InfluxStore
from tests.conformance.records import content, record


@pytest.mark.slow
def test_killed_under_writers(own_server: Callable[..., Any]) -> None:
    server = own_server("influxdb")
    address = server.address
    settings = InfluxSettings(
        url=address.url, org=address.org, token=address.token, timeout_seconds=10
    )
    store = InfluxStore(settings)
    store.init()
    confirmed: list[Record] = []
    enough = threading.Event()
    down = threading.Event()

    def work(writer: int) -> None:
        number = 10_000 * writer
        while not down.is_set():
            batch = [record("timeseries", number + n, 1 + n % 2) for n in range(50)]
            results = store.sink.write(batch)
            confirmed.extend(
                r for r, result in zip(batch, results, strict=True) if result == WRITTEN
            )
            if len(confirmed) > 500:
                enough.set()
            number += 50
            if {result.status for result in results} == {"unavailable"}:
                return

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(work, writer) for writer in range(3)]
        assert enough.wait(60)
        erased = [r.stamp.record_id for r in confirmed[:20]]
        assert {result.status for result in store.sink.delete(erased)} == {"erased"}
        server.kill()
        down.set()
        for writer in writers:
            writer.result()
    server.restart()
    found = store.sink.fetch([r.stamp.record_id for r in confirmed])
    for each in confirmed:
        identity = each.stamp.record_id
        if identity in erased:
            assert identity not in found
        else:
            assert found[identity].content == content(each)
    assert store.sink.erased(erased) == frozenset(erased)
    store.close()
