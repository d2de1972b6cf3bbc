"""The time-series store: two points per record, of which only the highest version stays."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from schemas.ports import ERASED, WRITTEN, Result, Stored, Unavailable
from schemas.records import PointRecord, RecordId, Store
from sinks.common.deadline import Deadline
from sinks.common.stamps import Refusal, is_identity
from sinks.influxdb.client import REFUSED, TOO_LARGE, Client
from sinks.influxdb.lines import EVENT, RECORD, SUPERSEDED, Point, bucket, lines, name_of, point
from sinks.influxdb.lines import stored as read
from sinks.influxdb.places import record_row
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.tombstones import Tombstones
from sinks.influxdb.versions import (
    PATIENCE,
    STATEMENTS,
    Versions,
    beside,
    groups,
    moved_of,
    others_of,
)

_BAD_ID = Result("rejected", "bad_id")
_BYTES = 8 << 20
_DAY_NS = 86_400_000_000_000


class InfluxSink:
    """Implements :class:`schemas.ports.Sink`.

    Influx has no conditional write. Every version is a point of its own; after a write the other
    versions of what was written are asked for, and all but the highest are marked and removed. Of
    two that write versions of one record at the same time, at least one sees both, so what counts
    is the highest whatever the order. Tombstones are asked for before a write and
    again after it, likewise.
    """

    store: ClassVar[Store] = "timeseries"

    def __init__(self, client: Client, settings: InfluxSettings) -> None:
        self._client = client
        self._settings = settings
        self._bucket = settings.bucket
        self._tombstones = Tombstones(client, settings.bucket)
        self._versions = Versions(client, settings.bucket)

    def write(self, records: Sequence[PointRecord], /) -> Sequence[Result]:
        results: list[Result] = [WRITTEN] * len(records)
        best: dict[RecordId, Point] = {}
        places: dict[int, RecordId] = {}
        for index, record in enumerate(records):
            try:
                made = self._prepare(record)
            except Refusal as refusal:
                results[index] = Result("rejected", refusal.code)
                continue
            places[index] = made.id
            before = best.get(made.id)
            if before is None or before.version <= made.version:
                best[made.id] = made
        outcomes: dict[RecordId, Result] = {}
        parts: list[Sequence[Point]] = list(self._parts(best.values()))
        while parts:
            part = parts.pop(0)
            try:
                outcomes |= self._admit(part, self._client.deadline())
            except Unavailable as error:
                if error.code not in (REFUSED, TOO_LARGE):
                    # The other parts are not tried: each could wait as long again.
                    lost = Result("unavailable", error.code, error.retry_after)
                    outcomes |= {made.id: lost for each in (part, *parts) for made in each}
                    break
                if len(part) == 1:
                    outcomes[part[0].id] = self._refused(part[0], error.code)
                else:
                    # Which line is at fault is told in words only: halves tell it too.
                    half = len(part) // 2
                    parts[:0] = [part[:half], part[half:]]
        for index, identity in places.items():
            results[index] = outcomes[identity]
        return results

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        """What is there. Reads one in :data:`sinks.influxdb.lines.BUCKETS` of all records for each
        id. Raises Unavailable."""
        known = dict.fromkeys(i for i in ids if is_identity(i.kind, i.id))
        if not known:
            return {}
        erased = self._tombstones.asked(known, self._client.deadline())
        wanted = [identity for identity in known if identity not in erased]
        found = self._fetch(wanted)
        # A reader may pass between the end of one version and the beginning of the next.
        return found | self._fetch([identity for identity in wanted if identity not in found])

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        """Erases records. What was erased leaves the disk when Influx compacts its files."""
        known = list(dict.fromkeys(i for i in ids if is_identity(i.kind, i.id)))
        outcome = ERASED
        try:
            for part in groups(known, STATEMENTS):
                self._erase(part)
        except Unavailable as error:
            outcome = Result("unavailable", error.code, error.retry_after)
        return [outcome if is_identity(i.kind, i.id) else _BAD_ID for i in ids]

    def erased(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """See :meth:`schemas.ports.Tombstones.erased`."""
        known = [identity for identity in ids if is_identity(identity.kind, identity.id)]
        return frozenset(self._tombstones.asked(known, self._client.deadline()) if known else ())

    def overwritten(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """Those whose record is there, and not the point that dashboards read: another event's
        point lies in its place (see :mod:`sinks.influxdb.collisions`). Raises Unavailable."""
        lost: set[RecordId] = set()
        known = list(dict.fromkeys(i for i in ids if is_identity(i.kind, i.id)))
        for group in groups(known, STATEMENTS):
            deadline = self._client.deadline()
            rows = self._scan("id, version", group, deadline)
            times = {record_row(row).id: row["time"] for row in rows}
            statements = [
                f"SELECT event_id FROM {EVENT} WHERE kind = '{i.kind}' AND time = {time}"  # noqa: S608
                for i, time in times.items()
            ]
            for identity, points in zip(times, self._query(statements, deadline), strict=True):
                if not any(point["event_id"] == identity.id for point in points):
                    lost.add(identity)
        return frozenset(lost)

    def count(self) -> int:
        """How many records it holds. Raises Unavailable."""
        statement = f"SELECT count(id) FROM {RECORD}"  # noqa: S608
        statements = [statement, f"{statement} WHERE {SUPERSEDED} = true"]
        answers = self._query(statements, self._client.deadline(PATIENCE))
        everything, old = (int(rows[0]["count"]) if rows else 0 for rows in answers)
        return everything - old

    def sweep(self) -> int:
        """Removes superseded points that a write had no time to remove; answers how many. They
        count nowhere here, but a dashboard adds them up. Raises Unavailable."""
        return self._versions.sweep()

    def close(self) -> None:
        """Later calls find the store unavailable."""
        self._client.close()

    def _prepare(self, record: PointRecord) -> Point:
        made = point(record, self._settings.max_tag_bytes, self._settings.max_record_bytes)
        days = self._settings.retention_days
        if days is not None and made.time < time.time_ns() - days * _DAY_NS:
            raise Refusal("outside_retention")
        return made

    def _parts(self, points: Iterable[Point]) -> Iterator[list[Point]]:
        """Of bounded size, near in time, so that few intervals hold a part."""
        part: list[Point] = []
        size = 0
        for made in sorted(points, key=lambda made: made.time):
            if part and (2 * len(part) + 2 > self._settings.batch_lines or size > _BYTES):
                yield part
                part, size = [], 0
            part.append(made)
            size += len(made.record)
        if part:
            yield part

    def _refused(self, made: Point, code: str) -> Result:
        """Of the two lines of a point Influx may refuse one and take the other, which goes: what is
        a dead letter is not in the store as well."""
        try:
            self._versions.remove_version(made)
        except Unavailable as error:
            return Result("unavailable", error.code, error.retry_after)
        return Result("rejected", code)

    def _admit(self, points: Sequence[Point], deadline: Deadline) -> dict[RecordId, Result]:
        ids = [made.id for made in points]
        times = [made.time for made in points]
        before, *answers = self._query([self._tombstones.question, *moved_of(times)], deadline)
        erased = self._tombstones.among(ids, before, deadline)
        sent = [made for made in points if made.id not in erased]
        if sent:
            moved = beside(sent, answers)
            text = [line for made in sent for line in lines(made, moved.get(made.id, 0))]
            self._client.write(self._bucket, "\n".join(text), deadline)
            after, *others = self._query([self._tombstones.question, *others_of(sent)], deadline)
            erased |= self._tombstones.among(ids, after, deadline)
            self._versions.supersede(sent, moved, others, deadline)
        gone = {made.id: made.time for made in points if made.id in erased}
        if gone:
            self._versions.remove_all(gone)
        return {made.id: ERASED if made.id in erased else WRITTEN for made in points}

    def _query(
        self, statements: Sequence[str], deadline: Deadline
    ) -> list[list[Mapping[str, Any]]]:
        return self._client.query(self._bucket, statements, deadline)

    def _erase(self, ids: Sequence[RecordId]) -> None:
        deadline = self._client.deadline()
        # A read first: a server that does not answer is not sent what it might do much later.
        self._tombstones.asked(ids, deadline)
        self._tombstones.add(ids, deadline)
        rows = self._scan("id, version", ids, deadline)
        self._versions.remove_all({record_row(row).id: row["time"] for row in rows})

    def _fetch(self, ids: Sequence[RecordId]) -> dict[RecordId, Stored]:
        found: dict[RecordId, Stored] = {}
        for group in groups(ids, STATEMENTS):
            for row in self._scan("json", group, self._client.deadline()):
                held = read(row["json"])
                before = found.get(held.stamp.record_id)
                if before is None or before.stamp.version < held.stamp.version:
                    found[held.stamp.record_id] = held
        return found

    def _scan(
        self, columns: str, ids: Sequence[RecordId], deadline: Deadline
    ) -> Iterator[Mapping[str, Any]]:
        """The rows of ``record`` of these ids, whatever their times."""
        statements = [
            f"SELECT {columns} FROM {RECORD} "  # noqa: S608
            f"WHERE bucket = '{bucket(identity)}' AND id = '{name_of(identity)}'"
            for identity in ids
        ]
        for rows in self._query(statements, deadline):
            yield from rows
