"""What all stores on servers have to bear: a server that hangs, several that make it ready."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.elasticsearch import ElasticsearchHarness
from tests.conformance.influxdb import InfluxHarness
from tests.conformance.proxied import ProxiedHarness
from tests.conformance.records import record

PARTS = 5
OPENERS = 6
Make = Callable[[pytest.FixtureRequest], Any]


@pytest.fixture(
    params=[
        pytest.param((ElasticsearchHarness, {"batch_documents": 1}), id="elasticsearch"),
        pytest.param((InfluxHarness, {"batch_lines": 1}), id="influxdb"),
    ]
)
def harness(request: pytest.FixtureRequest) -> Any:
    made, small = request.param
    found = made(request)
    found.settings = found.settings.model_copy(update=small)
    return found


@pytest.mark.servers
def test_a_batch_of_several_requests_waits_once(harness: ProxiedHarness) -> None:
    records = [record(harness.store, number) for number in range(PARTS)]
    assert {r.status for r in harness.open().write(records)} == {"written"}
    with harness.outages["hanging"]():
        assert harness.proxy is not None
        before = harness.proxy.accepted
        results = harness.current().write(records)
        assert harness.proxy.accepted - before == 1
    assert [result.status for result in results] == ["unavailable"] * PARTS


@pytest.mark.servers
def test_several_make_a_store_ready_at_once(harness: Any) -> None:
    """As the pods of a deployment do, each before its worker."""
    together = threading.Barrier(OPENERS)
    address = f"127.0.0.1:{harness._target}"
    harness._made = True
    stores = [harness.make(address, harness.patient) for _ in range(OPENERS)]

    def init(store: Any) -> set[str]:
        together.wait()
        return set(store.init())

    with ThreadPoolExecutor(OPENERS) as pool:
        made = list(pool.map(init, stores))
    assert len(set().union(*made)) == 2
    for store in stores:
        store.check()
        store.close()
