"""Time series in InfluxDB 2. The client's library is imported with :class:`InfluxStore`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "InfluxStore":
        from sinks.influxdb.store import InfluxStore

        return InfluxStore
    raise AttributeError(name)
