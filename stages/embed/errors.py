"""Failures of embedders."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.ports import Unavailable


class Incomplete(Unavailable):
    """Some of the texts got their vectors: ``vectors`` has None for those that did not."""

    def __init__(self, what: str, code: str, vectors: Sequence[bytes | None]) -> None:
        super().__init__(what, code)
        self.vectors = vectors
