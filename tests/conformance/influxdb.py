"""A sink on buckets of the test's own, removed at the end, through a proxy that can fail."""

from __future__ import annotations

import uuid

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient

from schemas.records import Store
from sinks.influxdb.lines import ANCHOR
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.store import InfluxStore
from tests.conformance.proxied import ProxiedHarness
from tests.servers.plugin import port_of


class InfluxHarness(ProxiedHarness):
    """Implements :class:`tests.conformance.harness.Harness`."""

    store: Store = "timeseries"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        server = request.getfixturevalue("influxdb")
        super().__init__(port_of(server.url))
        self.settings = InfluxSettings(
            url=server.url,
            org=server.org,
            token=server.token,
            bucket=f"test-{uuid.uuid4().hex}",
            timeout_seconds=self.patient,
        )
        self._made = False
        request.addfinalizer(self._remove)

    def make(self, address: str, seconds: float) -> InfluxStore:
        more = {"timeout_seconds": seconds, "url": f"http://{address}"}
        store = InfluxStore(self.settings.model_copy(update=more))
        if not self._made:
            store.init()
            self._made = True
        return store

    def dump(self) -> object:
        """All points of both measurements, without what removals have left in their series."""
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
            sorted(
                [
                    {k: v for k, v in row.items() if v is not None}
                    for row in rows
                    if not row.pop(ANCHOR, None)
                ],
                key=repr,
            )
            for rows in found
        ]

    def _remove(self) -> None:
        self.close()
        if self._made:
            remove(self.settings)


def remove(settings: InfluxSettings) -> None:
    """Removes the buckets of a test."""
    with InfluxDBClient(
        settings.url, settings.token.get_secret_value(), org=settings.org
    ) as client:
        buckets = client.buckets_api()
        for name in (settings.bucket, f"{settings.bucket}-erased"):
            if (found := buckets.find_bucket_by_name(name)) is not None:
                buckets.delete_bucket(found)
