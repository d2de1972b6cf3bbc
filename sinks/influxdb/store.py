"""The time-series store as one thing: its sink, its queries and its housekeeping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from schemas.failures import UserError
from schemas.ports import Unavailable
from schemas.queries import UsageQueries
from sinks.influxdb.client import MISSING, REFUSED, Client
from sinks.influxdb.collisions import Collisions
from sinks.influxdb.queries import InfluxQueries
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.sink import InfluxSink
from sinks.influxdb.tombstones import bucket_of

FORMAT = 1
"""Version of the points; kept in the buckets' descriptions."""

_HINT = "run: memory-graph stores init"
_DESCRIPTION = "llm-memory-graph, format {}"
_FORMAT = re.compile(r"llm-memory-graph, format (\d+)")
_DAY = 86_400
_PART = 500
_SIZE = re.compile(r'^storage_shard_disk_size\{[^}]*bucket="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)


class InfluxStore:
    """Connects when first used."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._client = Client(settings)
        self.sink = InfluxSink(self._client, settings)
        self.queries: UsageQueries = InfluxQueries(self._client, settings)
        self.collisions = Collisions(self._client, settings)

    def init(self) -> Sequence[str]:
        """Makes the bucket of the points, with the retention that is set, and that of what was
        erased, which keeps everything.

        Raises UserError where the organisation is missing, Unavailable.
        """
        made = []
        for name, retention in self._buckets().items():
            if self._bucket(name) is None:
                rules = [{"type": "expire", "everySeconds": retention}] if retention else []
                body = {
                    "orgID": self._org(),
                    "name": name,
                    "description": _DESCRIPTION.format(FORMAT),
                    "retentionRules": rules,
                }
                try:
                    self._client.post("/api/v2/buckets", body)
                except Unavailable as error:
                    # Another one may have just made it.
                    if error.code != REFUSED or self._bucket(name) is None:
                        raise
                else:
                    made.append(f"bucket {name}")
        return made

    def check(self) -> None:
        """Raises UserError naming what is missing or is not as it is set; Unavailable."""
        for name, retention in self._buckets().items():
            found = self._bucket(name)
            if found is None:
                raise UserError(f"InfluxDB has no bucket {name}; {_HINT}")
            version = _FORMAT.match(str(found.get("description", "")))
            if version and int(version[1]) > FORMAT:
                raise UserError(
                    f"the bucket {name} in InfluxDB has format {version[1]}, newer than this "
                    f"program's {FORMAT}"
                )
            rules = found.get("retentionRules") or [{}]
            held = int(rules[0].get("everySeconds", 0))
            if held != retention:
                raise UserError(
                    f"the bucket {name} in InfluxDB keeps points for {_days(held)}, and "
                    f"influxdb.retention_days says {_days(retention)}; change one of them"
                )

    def repair(self) -> Sequence[str]:
        """Writes points that others have overwritten beside them, and removes superseded ones; one
        line for what was done. Raises Unavailable."""
        told: Counter[str] = Counter()
        lost = self.collisions.find()
        while part := list(islice(lost, _PART)):
            for result in self.collisions.move(part):
                told["moved" if result.status == "written" else result.code] += 1
        told["removed superseded"] = self.sink.sweep()
        return [f"influxdb: {count} {what} points" for what, count in told.items() if count]

    def size(self) -> int | None:
        """Bytes on disk, where the server shows its metrics. Raises Unavailable."""
        found = [self._bucket(name) for name in self._buckets()]
        ids = {bucket["id"] for bucket in found if bucket is not None}
        try:
            metrics = self._client.text("/metrics")
        except Unavailable as error:
            if error.code in (MISSING, "forbidden", "unauthorized"):
                return None
            raise
        sizes = [float(size) for bucket, size in _SIZE.findall(metrics) if bucket in ids]
        return int(sum(sizes)) if sizes else None

    def close(self) -> None:
        """Later calls find the store unavailable."""
        self._client.close()

    def _buckets(self) -> dict[str, int]:
        """Names, and for how many seconds points are kept; 0: for good."""
        days = self._settings.retention_days
        return {
            self._settings.bucket: 0 if days is None else days * _DAY,
            bucket_of(self._settings.bucket): 0,
        }

    def _bucket(self, name: str) -> dict[str, Any] | None:
        query = {"org": self._settings.org, "name": name}
        try:
            found = self._client.get("/api/v2/buckets", query)
        except Unavailable as error:
            if error.code != MISSING:
                raise
            self._org()
            return None
        buckets: list[dict[str, Any]] = found.get("buckets", [])
        return buckets[0] if buckets else None

    def _org(self) -> str:
        name = self._settings.org
        try:
            found = self._client.get("/api/v2/orgs", {"org": name}).get("orgs", [])
        except Unavailable as error:
            if error.code != MISSING:
                raise
            found = []
        if not found:
            raise UserError(
                f"InfluxDB has no organisation {name} that the token may see; make it, or change "
                "influxdb.org"
            )
        return str(found[0]["id"])


def _days(seconds: int) -> str:
    return "all of them for good" if not seconds else f"{seconds / _DAY:g} days"
