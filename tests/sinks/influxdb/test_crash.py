"""What was acknowledged is there after the server was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.store import InfluxStore
from tests.sinks.crash import kill_under_writers


@pytest.mark.slow
def test_killed_under_writers(own_server: Callable[..., Any]) -> None:
    server = own_server("influxdb")
    address = server.address
    store = InfluxStore(
        InfluxSettings(url=address.url, org=address.org, token=address.token, timeout_seconds=10)
    )
    store.init()
    kill_under_writers(server, store.sink, lambda: None)
    store.close()
