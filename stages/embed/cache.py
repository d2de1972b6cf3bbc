"""Caches of vectors: one in memory, and one in front of another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from schemas.ports import Cache


class MemoryCache:
    """The last ``entries`` values used; satisfies :class:`schemas.ports.Cache`."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._values: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, keys: Sequence[bytes], /) -> list[bytes | None]:
        found = []
        for key in keys:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            found.append(value)
        return found

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None:
        for key, value in items:
            self._values[key] = value
            self._values.move_to_end(key)
        while len(self._values) > self._entries:
            self._values.popitem(last=False)

    def __len__(self) -> int:
        return len(self._values)


class LayeredCache:
    """A near cache in front of a far one; what only the far one has is copied to the near one."""

    def __init__(self, near: Cache, far: Cache) -> None:
        self._near = near
        self._far = far

    def get(self, keys: Sequence[bytes], /) -> list[bytes | None]:
        found = list(self._near.get(keys))
        missing = [index for index, value in enumerate(found) if value is None]
        if not missing:
            return found
        copied = []
        for index, value in zip(
            missing, self._far.get([keys[index] for index in missing]), strict=True
        ):
            if value is not None:
                found[index] = value
                copied.append((keys[index], value))
        self._near.put(copied)
        return found

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None:
        self._near.put(items)
        self._far.put(items)
