"""The vector store in Pinecone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from schemas.ports import ERASED, WRITTEN, Result, Stored, Unavailable
from schemas.records import RecordId, Store, VectorRecord
from sinks.common.stamps import Refusal, is_identity
from sinks.pinecone import layout
from sinks.pinecone.layout import MARKERS, TOMBSTONES, Held, Prepared
from sinks.pinecone.places import Place, by_namespace, last_of
from sinks.pinecone.wire import PART, Vector, Wire, requests

_BAD_ID = Result("rejected", "bad_id")
Item = tuple[str, Vector]
"""A record's key and what is sent of it."""

_VAIN = 2
"""How often the same markers are followed in vain before they are left alone."""
_MOST_LOOKS = 20
_PAUSE = 0.05


_NONE = Held()


class PineconeSink:
    """:class:`schemas.ports.Sink` of vectors, one namespace per tenant and model.

    A write is: read the markers; send markers, then vectors, of what is not older than what is
    there; read the markers again, and delete what is superseded or erased by now. As versions do
    not overwrite each other, writers of any number need no agreement: the highest version that was
    written is there in the end. Pinecone is eventually consistent: until a write is seen by reads,
    :meth:`fetch` and :meth:`count` may answer as before it, and a superseded or erased vector may
    be left over, which readers skip and the next write or erasure of the record deletes.
    """

    store: ClassVar[Store] = "vector"

    def __init__(
        self,
        wire: Wire,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wire = wire
        self._dimensions = wire.settings.dimensions
        self._patience = wire.settings.timeout_seconds
        self._clock = clock
        self._sleep = sleep
        self._closed = False

    def write(self, records: Sequence[VectorRecord], /) -> Sequence[Result]:
        """See :meth:`schemas.ports.Sink.write`. The server's own refusal of a record is found by
        sending halves."""
        results: list[Result] = [WRITTEN] * len(records)
        good: list[tuple[int, Prepared]] = []
        for index, record in enumerate(records):
            try:
                good.append((index, layout.prepare(record, self._dimensions)))
            except Refusal as refusal:
                results[index] = Result("rejected", refusal.code)
        outcome = self._write([prepared for _, prepared in good])
        for index, prepared in good:
            results[index] = outcome.get(prepared.key, WRITTEN)
        return results

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        """What is there. Raises Unavailable."""
        self._check_open()
        found: dict[RecordId, Stored] = {}
        wanted = {layout.record_key(i): i for i in ids if is_identity(i.kind, i.id)}
        # A version may be replaced between the look at its marker and the look at its vector; a
        # marker that stays without a vector is what a crash has left.
        asked = list(wanted)
        before: dict[str, list[int]] = {}
        vain = 0
        for _ in range(_MOST_LOOKS):
            held = {
                key: one
                for key, one in self._markers(asked)[0].items()
                if one.versions and not one.erased
            }
            found.update(self._vectors(held))
            asked = [key for key in held if wanted[key] not in found]
            now = {key: sorted(held[key].versions) for key in asked}
            vain = vain + 1 if now == before else 0
            if not asked or vain == _VAIN:
                break
            before = now
        return found

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        """See :meth:`schemas.ports.Sink.delete`. Waits until reads see all that was written before
        the tombstone; ``lagging`` where that takes longer than a call may."""
        known = [identity for identity in ids if is_identity(identity.kind, identity.id)]
        outcome = ERASED
        if known:
            try:
                self._check_open()
                self._erase([layout.record_key(identity) for identity in known])
            except Unavailable as error:
                outcome = Result("unavailable", error.code, error.retry_after)
            except Refusal as refusal:
                outcome = Result("unavailable", refusal.code)
        return [outcome if is_identity(i.kind, i.id) else _BAD_ID for i in ids]

    def erased(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """See :meth:`schemas.ports.Tombstones.erased`."""
        self._check_open()
        wanted = {layout.record_key(i): i for i in ids if is_identity(i.kind, i.id)}
        held = self._markers(wanted)[0] if wanted else {}
        return frozenset(wanted[key] for key, one in held.items() if one.erased)

    def count(self) -> int:
        """How many records it holds. Raises Unavailable."""
        self._check_open()
        counts = self._wire.namespaces()
        return counts.get(MARKERS, 0) - counts.get(TOMBSTONES, 0)

    def close(self) -> None:
        """Later calls find the store unavailable."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(PART, "closed")

    def _write(self, batch: Sequence[Prepared]) -> dict[str, Result]:
        """What became of the records that were not simply written, by key."""
        highest: dict[str, Prepared] = {}
        for prepared in batch:
            other = highest.get(prepared.key)
            if other is None or prepared.stamp.version >= other.stamp.version:
                highest[prepared.key] = prepared
        if not highest:
            return {}
        outcome: dict[str, Result] = {}
        try:
            self._check_open()
            before, _ = self._markers(highest)
            wanted = [p for p in highest.values() if _admitted(p, before.get(p.key))]
            outcome |= self._send(wanted)
            sent = [p for p in wanted if p.key not in outcome]
            after, _ = self._markers([p.key for p in sent]) if sent else ({}, None)
            self._clean(highest, before, after, {p.key for p in sent})
        except Unavailable as error:
            # Whatever was sent stays: sending it again changes nothing.
            result = Result("unavailable", error.code, error.retry_after)
            return dict.fromkeys(highest, result) | outcome
        for key in highest:
            if any(held.erased for held in (before.get(key), after.get(key)) if held):
                outcome[key] = ERASED
        return outcome

    def _send(self, wanted: Sequence[Prepared]) -> dict[str, Result]:
        """Markers first, so that a marker stands for every vector there may be. Answers what was
        not written, by key."""
        failed = self._upsert({MARKERS: [(p.key, layout.marker(p)) for p in wanted]})
        vectors: dict[str, list[Item]] = {}
        for prepared in wanted:
            if prepared.key not in failed:
                item = (prepared.key, prepared.vector)
                vectors.setdefault(prepared.namespace, []).append(item)
        failed |= self._upsert(vectors)
        refused = [p.id for p in wanted if p.key in failed and failed[p.key].status == "rejected"]
        self._wire.delete({MARKERS: refused})
        return failed

    def _upsert(self, items: Mapping[str, Sequence[Item]]) -> dict[str, Result]:
        """What was not written of the items by namespace."""
        parts = [
            (namespace, [those[n] for n in part])
            for namespace, those in items.items()
            for part in requests([vector for _, vector in those])
        ]
        failed: dict[str, Result] = {}
        for answer in self._wire.each(lambda part: self._upsert_part(*part), parts):
            failed |= answer
        return failed

    def _upsert_part(self, namespace: str, part: Sequence[Item]) -> dict[str, Result]:
        try:
            self._wire.upsert(namespace, [vector for _, vector in part])
        except Refusal as refusal:
            if len(part) == 1:
                return {part[0][0]: Result("rejected", refusal.code)}
            middle = len(part) // 2
            return self._upsert_part(namespace, part[:middle]) | self._upsert_part(
                namespace, part[middle:]
            )
        except Unavailable as error:
            result = Result("unavailable", error.code, error.retry_after)
            return dict.fromkeys([key for key, _ in part], result)
        return {}

    def _clean(
        self,
        highest: Mapping[str, Prepared],
        before: Mapping[str, Held],
        after: Mapping[str, Held],
        sent: set[str],
    ) -> None:
        """Deletes what is superseded or erased by now. Only an erasure has to succeed."""
        gone: set[Place] = set()
        kept: set[str] = set()
        erased: set[Place] = set()
        doubtful: dict[str, tuple[Place, set[Place]]] = {}
        for key, prepared in highest.items():
            one, other = before.get(key, _NONE), after.get(key, _NONE)
            places = {Place(key, v, n) for held in (one, other) for v, n in held.versions.items()}
            own = Place(key, prepared.stamp.version, prepared.namespace)
            if key in sent:
                places.add(own)
            if one.erased or other.erased:
                erased |= places
            elif len(places) > 1:
                last = last_of(places, own)
                kept.add(last.id)
                if last == own and key in sent:
                    gone |= places - {own}
                else:
                    doubtful[key] = (last, places - {last})
        self._remove(erased)
        with contextlib.suppress(Unavailable):
            there = self._present(last for last, _ in doubtful.values())
            for last, others in doubtful.values():
                gone |= others if last in there else set()
            self._remove(gone, kept)

    def _present(self, places: Iterable[Place]) -> set[Place]:
        """Those of which there is a vector: whoever sent the marker may have failed since."""
        wanted = {(place.namespace, place.id): place for place in places}
        return {wanted[place] for place in self._wire.fetch(by_namespace(wanted))}

    def _erase(self, keys: Sequence[str]) -> None:
        stones = [layout.tombstone(key, self._dimensions) for key in dict.fromkeys(keys)]
        for part in requests(stones):
            self._wire.upsert(TOMBSTONES, [stones[n] for n in part])
            written = self._wire.upsert(MARKERS, [stones[n] for n in part])
        deadline = self._clock() + self._patience
        while True:
            held, seen = self._markers(keys)
            if written is None or seen is None or seen >= written:
                break
            if self._clock() >= deadline:
                raise Unavailable(PART, "lagging")
            self._sleep(_PAUSE)
        self._remove(
            {Place(key, v, n) for key, one in held.items() for v, n in one.versions.items()}
        )

    def _remove(self, places: set[Place], kept: Iterable[str] = ()) -> None:
        """Markers last: while one is there, its vector is found again. A marker in ``kept`` now
        speaks of another namespace."""
        self._wire.delete(by_namespace((place.namespace, place.id) for place in places))
        self._wire.delete({MARKERS: {place.id for place in places}.difference(kept)})

    def _markers(self, keys: Iterable[str]) -> tuple[dict[str, Held], int | None]:
        found, seen = self._wire.matching(MARKERS, "record", list(keys))
        return layout.read_markers(found.values()), seen

    def _vectors(self, held: Mapping[str, Held]) -> dict[RecordId, Stored]:
        """The highest version there is of each."""
        found: dict[RecordId, Stored] = {}
        candidates = {key: sorted(one.versions.items(), reverse=True) for key, one in held.items()}
        while candidates:
            asked: list[tuple[str, str]] = []
            for key, versions in candidates.items():
                version, namespace = versions.pop(0)
                asked.append((namespace, layout.version_id(key, version)))
            for item in self._wire.fetch(by_namespace(asked)).values():
                one = layout.stored(item)
                found[one.stamp.record_id] = one
            candidates = {
                key: versions
                for key, versions in candidates.items()
                if versions and layout.identity_of(key) not in found
            }
        return found


def _admitted(prepared: Prepared, held: Held | None) -> bool:
    if held is None:
        return True
    highest = held.highest
    return not held.erased and (highest is None or prepared.stamp.version >= highest)
