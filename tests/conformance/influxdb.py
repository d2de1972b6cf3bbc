"""A sink on buckets of the test's own, removed at the end, through a proxy that can fail."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient

from schemas.ports import Sink
from schemas.records import Store
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.store import InfluxStore
from tests.conformance.harness import Outage
from tests.servers.plugin import port_of
from tests.servers.proxy import Proxy

IMPATIENT = 1.0
"""Seconds for a call while the server hangs."""
PATIENT = 30.0


class InfluxHarness:
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "timeseries"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        server = request.getfixturevalue("influxdb")
        self.settings = InfluxSettings(
            url=server.url,
            org=server.org,
            token=server.token,
            bucket=f"test-{uuid.uuid4().hex}",
            timeout_seconds=PATIENT,
        )
        self._target = port_of(server.url)
        self._proxy = Proxy(self._target).__enter__()
        self._opened: InfluxStore | None = None
        self._closed = False
        self._made = False
        request.addfinalizer(self._remove)
        self.outages: Mapping[str, Outage] = {
            "refused": lambda: self._while(self._proxy.refuse),
            "hanging": lambda: self._while(self._proxy.hang, IMPATIENT),
            "slow": lambda: self._while(lambda: self._proxy.delay(IMPATIENT), IMPATIENT),
            "cut in mid-batch": lambda: self._while(lambda: self._proxy.cut(after=600)),
            "cut before the answer": lambda: self._while(
                lambda: self._proxy.cut(after=100, direction="down")
            ),
        }

    def open(self, seconds: float = PATIENT) -> Sink[Any]:
        self._close_store()
        if self._closed:
            self._proxy = Proxy(self._target).__enter__()
            self._closed = False
        self._opened = InfluxStore(
            self.settings.model_copy(
                update={"timeout_seconds": seconds, "url": f"http://{self._proxy.address}"}
            )
        )
        if not self._made:
            self._opened.init()
            self._made = True
        return self._opened.sink

    def current(self) -> Sink[Any]:
        assert self._opened is not None
        return self._opened.sink

    def dump(self) -> object:
        """All points of both measurements."""
        store = InfluxStore(self.settings)
        try:
            store.sink.sweep()
            found = store.sink._client.query(
                self.settings.bucket,
                ["SELECT * FROM event", "SELECT * FROM record"],
                store.sink._client.deadline(),
            )
        finally:
            store.close()
        return [
            sorted([{k: v for k, v in row.items() if v is not None} for row in rows], key=repr)
            for rows in found
        ]

    def close(self) -> None:
        self._close_store()
        if not self._closed:
            self._closed = True
            self._proxy.__exit__(None, None, None)

    def _remove(self) -> None:
        self.close()
        if self._made:
            remove(self.settings)

    def _close_store(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @contextlib.contextmanager
    def _while(self, fail: Callable[[], None], seconds: float = PATIENT) -> Iterator[None]:
        self.open(seconds)
        fail()
        try:
            yield
        finally:
            self._proxy.heal()


def remove(settings: InfluxSettings) -> None:
    """Removes the buckets of a test."""
    with InfluxDBClient(
        settings.url, settings.token.get_secret_value(), org=settings.org
    ) as client:
        buckets = client.buckets_api()
        for name in (settings.bucket, f"{settings.bucket}-erased"):
            if (found := buckets.find_bucket_by_name(name)) is not None:
                buckets.delete_bucket(found)
