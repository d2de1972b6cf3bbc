"""Where the versions of a record are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sinks.pinecone.layout import version_id


class Place(NamedTuple):
    """A version of a record (by its key) in a namespace."""

    key: str
    version: int
    namespace: str

    @property
    def id(self) -> str:
        return version_id(self.key, self.version)


def last_of(places: set[Place], own: Place) -> Place:
    """The highest version; of two places of it, the one where it has just been written."""
    return max(places, key=lambda place: (place.version, place == own))


def by_namespace(ids: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Ids, from pairs of namespace and id."""
    found: dict[str, list[str]] = {}
    for namespace, id_ in ids:
        found.setdefault(namespace, []).append(id_)
    return found
