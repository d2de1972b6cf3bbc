"""Nearest neighbours in Pinecone."""

from __future__ import annotations

import numpy as np

from schemas.items import Kind
from schemas.queries import Neighbour
from schemas.records import RecordId
from sinks.common.stamps import Refusal
from sinks.pinecone import layout
from sinks.pinecone.layout import MARKERS
from sinks.pinecone.sink import PineconeSink
from sinks.pinecone.wire import Wire

_SPARE = 16
"""Candidates beyond k: (kind, id) decides between equals, and left-overs are skipped."""
_MOST = 1_000
"""Pinecone's limit of answers with metadata."""


class PineconeQueries:
    """:class:`schemas.queries.VectorQueries`. The search is Pinecone's, which is approximate."""

    def __init__(self, wire: Wire, sink: PineconeSink) -> None:
        self._wire = wire
        self._sink = sink

    def vector(self, record: RecordId) -> tuple[bytes, str] | None:
        """See :meth:`schemas.queries.VectorQueries.vector`."""
        found = self._sink.fetch([record]).get(record)
        if found is None:
            return None
        return np.array(found.content["values"], dtype="<f4").tobytes(), str(found.content["model"])

    def models(self) -> dict[str, int]:
        """See :meth:`schemas.queries.VectorQueries.models`; by the index's statistics."""
        found: dict[str, int] = {}
        for namespace, count in self._wire.namespaces().items():
            model = layout.model_of(namespace)
            if model is not None:
                found[model] = found.get(model, 0) + count
        return dict(sorted(found.items()))

    def similar(
        self,
        vector: bytes,
        k: int = 10,
        *,
        model: str,
        tenant: str | None = None,
        kind: Kind | None = None,
        exclude: RecordId | None = None,
    ) -> list[Neighbour]:
        """See :meth:`schemas.queries.VectorQueries.similar`. ``k`` is bounded by 984. Without a
        tenant all namespaces of the model are asked."""
        if k <= 0 or len(vector) != 4 * self._wire.settings.dimensions:
            return []
        asked = np.frombuffer(vector, dtype="<f4").tolist()
        condition: dict[str, object] = {}
        if kind is not None:
            condition["kind"] = {"$eq": kind}
        if exclude is not None:
            condition["record"] = {"$ne": layout.record_key(exclude)}
        count = min(k + _SPARE, _MOST)
        namespaces = self._namespaces(tenant, model)
        answers = self._wire.each(
            lambda namespace: self._wire.query(namespace, asked, count, condition), namespaces
        )
        candidates: dict[tuple[str, str], Neighbour] = {}
        for namespace, matches in zip(namespaces, answers, strict=True):
            for match in matches:
                stamp, text_hash, metadata = layout.described(match.metadata)
                candidates[namespace, match.id] = Neighbour(
                    stamp.record_id,
                    round(float(match.score), 6),
                    stamp.time,
                    stamp.tenant,
                    stamp.user,
                    text_hash,
                    metadata,
                )
        found = self._current(candidates)
        found.sort(key=lambda neighbour: (-neighbour.score, neighbour.id))
        return found[:k]

    def _namespaces(self, tenant: str | None, model: str) -> list[str]:
        if tenant is not None:
            try:
                return [layout.namespace_of(tenant, model)]
            except Refusal:
                return []
        return sorted(n for n in self._wire.namespaces() if layout.model_of(n) == model)

    def _current(self, candidates: dict[tuple[str, str], Neighbour]) -> list[Neighbour]:
        """Those that are neither erased nor superseded."""
        keys = {layout.record_key(neighbour.id) for neighbour in candidates.values()}
        markers, _ = self._wire.matching(MARKERS, "record", sorted(keys))
        held = layout.read_markers(markers.values())
        current: list[Neighbour] = []
        for (namespace, id_), neighbour in candidates.items():
            key = layout.record_key(neighbour.id)
            one = held.get(key)
            if one is None or one.erased or one.highest is None:
                continue
            highest = one.highest
            if one.versions[highest] == namespace and layout.version_id(key, highest) == id_:
                current.append(neighbour)
        return current
