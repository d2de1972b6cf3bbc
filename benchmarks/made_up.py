"""Vectors that no model makes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


class MadeUp:
    """A :class:`schemas.ports.Embedder`: a vector is a hash of its text, as long as the local
    encoder's, so that the vector store gets as much to write as with it."""

    model = "made-up"
    dimensions = 384

    def embed(self, texts: Sequence[str], /) -> list[bytes]:
        return [_vector(" ".join(text.split())) for text in texts]


def _vector(text: str) -> bytes:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    values = np.random.default_rng(seed).standard_normal(MadeUp.dimensions)
    unit: bytes = (values / np.linalg.norm(values)).astype("<f4").tobytes()
    return unit
