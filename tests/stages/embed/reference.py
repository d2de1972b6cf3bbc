"""all-MiniLM-L6-v2 in float64 numpy: slow, obvious, and sharing nothing with ``stages.embed``.

Written from the BERT paper (Devlin et al., 2019, arXiv:1810.04805) and the model card: the mean of
the last hidden states, divided by its length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

Array = npt.NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


class Reference:
    def __init__(self, weights: Path) -> None:
        self.w: Mapping[str, Array] = {
            name: array.astype(np.float64)
            for name, array in load_file(weights).items()
            if array.dtype == np.float32
        }

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x: Array, name: str) -> Array:
        mean = x.mean(axis=1, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-12) * self.w[name + ".weight"] + self.w[
            name + ".bias"
        ]

    def attention(self, x: Array, layer: str) -> Array:
        query, key, value = (
            self.linear(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
        )
        heads = []
        for head in range(12):
            part = slice(32 * head, 32 * head + 32)
            scores = query[:, part] @ key[:, part].T / math.sqrt(32)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            heads.append(weights @ value[:, part])
        joined = self.linear(np.concatenate(heads, axis=1), f"{layer}.attention.output.dense")
        return self.norm(joined + x, f"{layer}.attention.output.LayerNorm")

    def feed_forward(self, x: Array, layer: str) -> Array:
        inner = self.linear(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))
        return self.norm(
            self.linear(inner, f"{layer}.output.dense") + x, f"{layer}.output.LayerNorm"
        )

    def vector(self, tokens: Sequence[int]) -> Array:
        """The unit vector of one text from its token ids, without padding or batch."""
        x = (
            self.w["embeddings.word_embeddings.weight"][list(tokens)]
            + self.w["embeddings.position_embeddings.weight"][: len(tokens)]
            + self.w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self.norm(x, "embeddings.LayerNorm")
        for number in range(6):
            layer = f"encoder.layer.{number}"
            x = self.feed_forward(self.attention(x, layer), layer)
        mean = x.mean(axis=0)
        return mean / np.sqrt((mean**2).sum())
