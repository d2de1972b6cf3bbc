"""How records lie in the index: which namespace, under which id, as which metadata.

Every version of a record is a vector of its own: Pinecone has no conditional writes, and what is
never overwritten cannot be lost. Beside it, in one reserved namespace, stands a marker that says
which versions there are and where; a tombstone is a marker too. Readers take the highest version
that is there, whoever sees a lower one beside it deletes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import numpy as np

from schemas.ports import Stored
from schemas.records import RecordId, Stamp, VectorRecord
from sinks.common.stamps import (
    Refusal,
    check_texts,
    from_json,
    measured,
    record_id,
    stamp_row,
    to_json,
)
from sinks.common.vectors import unit_vector
from sinks.pinecone.wire import Vector

MARKERS = "markers"
TOMBSTONES = "tombstones"
_ERASED = "erased"
_MOST_METADATA = 40 << 10
_MOST_TENANT = 300
_MOST_MODEL = 150


class _Data(msgspec.Struct, frozen=True):
    """All of a record but its vector, as JSON in one string: Pinecone keeps numbers as doubles."""

    stamp: Stamp
    model: str
    text_hash: str
    metadata: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Data).decode


class Prepared(msgspec.Struct, frozen=True):
    """A record as it is sent."""

    stamp: Stamp
    namespace: str
    vector: Vector

    @property
    def key(self) -> str:
        return record_key(self.stamp.record_id)

    @property
    def id(self) -> str:
        return str(self.vector["id"])


class Held(msgspec.Struct):
    """What the markers say of one record: the namespace of each version, and if it is erased."""

    versions: dict[int, str] = {}
    erased: bool = False

    @property
    def highest(self) -> int | None:
        return max(self.versions, default=None)


def prepare(record: VectorRecord, dimensions: int) -> Prepared:
    """The record as a vector. Raises Refusal."""
    values = unit_vector(record.values, dimensions)
    stamp = record.stamp
    stamp_row(stamp)  # Refuses what is no identity.
    check_texts((record.model, record.text_hash))
    key = record_key(stamp.record_id)
    data = _Data(stamp, record.model, record.text_hash, to_json(record.metadata))
    metadata = {
        "record": key,
        "kind": stamp.kind,
        "data": _encode(data).decode(),
    }
    if measured(metadata) > _MOST_METADATA:
        raise Refusal("too_large")
    vector = {
        "id": version_id(key, stamp.version),
        "values": values.tolist(),
        "metadata": metadata,
    }
    return Prepared(stamp, namespace_of(stamp.tenant, record.model), vector)


def marker(prepared: Prepared) -> Vector:
    """The marker of a version. It has to have a vector, which says nothing."""
    metadata = {
        "record": prepared.key,
        "version": str(prepared.stamp.version),
        "namespace": prepared.namespace,
    }
    length = len(prepared.vector["values"])
    return {"id": prepared.id, "values": _nothing(length), "metadata": metadata}


def tombstone(key: str, dimensions: int) -> Vector:
    """The marker of an erased record."""
    return {
        "id": f"{key}.{_ERASED}",
        "values": _nothing(dimensions),
        "metadata": {"record": key, _ERASED: True},
    }


def read_markers(found: Iterable[Any]) -> dict[str, Held]:
    """What markers say, by record key."""
    held: dict[str, Held] = {}
    for item in found:
        metadata = item.metadata
        one = held.setdefault(metadata["record"], Held())
        if metadata.get(_ERASED):
            one.erased = True
        else:
            one.versions[int(metadata["version"])] = metadata["namespace"]
    return held


def stored(item: Any) -> Stored:
    """The record in a vector."""
    data = _decode(item.metadata["data"])
    values = np.array(item.values, dtype="<f4")
    content: dict[str, object] = {
        "values": values.tolist(),
        "model": data.model,
        "text_hash": data.text_hash,
        "metadata": from_json(data.metadata),
    }
    return Stored(data.stamp, content)


def described(metadata: Mapping[str, Any]) -> tuple[Stamp, str, dict[str, Any]]:
    """Stamp, text hash and metadata of a vector that was found."""
    data = _decode(metadata["data"])
    return data.stamp, data.text_hash, from_json(data.metadata)


def record_key(identity: RecordId) -> str:
    """``kind.id``: unreserved in URLs, as ids of a fetch stand there."""
    return f"{identity.kind}.{identity.id}"


def identity_of(key: str) -> RecordId:
    kind, _, id_ = key.partition(".")
    return record_id(kind, id_)


def version_id(key: str, version: int) -> str:
    """The id of a version's vector and marker."""
    return f"{key}.{version}"


def namespace_of(tenant: str | None, model: str) -> str:
    """Of one tenant and one model: injective, ASCII, within Pinecone's 512 characters.

    A tenant whose name is too long is named by its SHA-256. Refuses a model whose name is.

    >>> namespace_of("acme/eu", "minilm"), namespace_of(None, "minilm")
    ('t-acme%2Feu/minilm', 'none/minilm')
    """
    name = quote(model, safe="")
    if len(name) > _MOST_MODEL:
        raise Refusal("too_large")
    if tenant is None:
        return f"none/{name}"
    part = "t-" + quote(tenant, safe="")
    if len(part) > _MOST_TENANT:
        part = "h-" + sha256(tenant.encode()).hexdigest()
    return f"{part}/{name}"


def model_of(namespace: str) -> str | None:
    """The model of a namespace; None of a reserved one."""
    _, slash, model = namespace.partition("/")
    return unquote(model) if slash else None


def _nothing(length: int) -> list[float]:
    return [1.0, *[0.0] * (length - 1)]
