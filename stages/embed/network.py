"""The transformer of all-MiniLM-L6-v2 as an OpenVINO graph, built from its weights.

Architecture: BERT (Devlin et al., 2019) with 6 layers, 12 heads of 32, hidden size 384, then the
mean over the tokens that are not padding, then unit length (sentence-transformers' pooling).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import openvino

LAYERS = 6
HEADS = 12
HIDDEN = 384
LAYER_NORM_EPSILON = 1e-12
# Added to a padded position's attention score; exp() of it is exactly 0 in f32 and in bf16.
PADDING_SCORE = -3e4

Weights = Mapping[str, npt.NDArray[np.float32]]


class _Graph:
    """Names the weights of one network and joins OpenVINO's operations into its blocks."""

    def __init__(self, weights: Weights) -> None:
        from openvino import opset13

        self.op: Any = opset13
        self._weights = weights

    def constant(self, array: npt.NDArray[np.float32]) -> Any:
        return self.op.constant(np.ascontiguousarray(array))

    def integers(self, *values: int) -> Any:
        return self.op.constant(np.array(values, np.int64))

    def weight(self, name: str) -> npt.NDArray[np.float32]:
        return self._weights[name]

    def linear(self, x: Any, name: str) -> Any:
        product = self.op.matmul(x, self.constant(self.weight(f"{name}.weight")), False, True)
        return self.op.add(product, self._vector(f"{name}.bias"))

    def layer_norm(self, x: Any, name: str) -> Any:
        centred = self.op.mvn(x, self.integers(-1), True, LAYER_NORM_EPSILON, "inside_sqrt")
        scaled = self.op.multiply(centred, self._vector(f"{name}.weight"))
        return self.op.add(scaled, self._vector(f"{name}.bias"))

    def _vector(self, name: str) -> Any:
        return self.constant(self.weight(name).reshape(1, 1, -1))


def _embeddings(g: _Graph, ids: Any) -> Any:
    words = g.op.gather(
        g.constant(g.weight("embeddings.word_embeddings.weight")), ids, g.integers(0)
    )
    # One segment only, so its type embedding belongs to the position's.
    positions = (
        g.weight("embeddings.position_embeddings.weight")
        + g.weight("embeddings.token_type_embeddings.weight")[0]
    )
    length = g.op.gather(g.op.shape_of(ids), g.integers(1), g.integers(0))
    used = g.op.slice(g.constant(positions), g.integers(0), length, g.integers(1), g.integers(0))
    return g.layer_norm(g.op.add(words, used), "embeddings.LayerNorm")


def _attention(g: _Graph, x: Any, scores: Any, layer: str) -> Any:
    def heads(name: str) -> Any:
        split = g.op.reshape(
            g.linear(x, f"{layer}.attention.self.{name}"),
            g.integers(0, 0, HEADS, HIDDEN // HEADS),
            True,
        )
        return g.op.transpose(split, g.integers(0, 2, 1, 3))

    attended = g.op.scaled_dot_product_attention(
        heads("query"), heads("key"), heads("value"), scores, causal=False
    )
    joined = g.op.reshape(
        g.op.transpose(attended, g.integers(0, 2, 1, 3)), g.integers(0, 0, HIDDEN), True
    )
    projected = g.linear(joined, f"{layer}.attention.output.dense")
    return g.layer_norm(g.op.add(projected, x), f"{layer}.attention.output.LayerNorm")


def _feed_forward(g: _Graph, x: Any, layer: str) -> Any:
    inner = g.op.gelu(g.linear(x, f"{layer}.intermediate.dense"), "erf")
    outer = g.linear(inner, f"{layer}.output.dense")
    return g.layer_norm(g.op.add(outer, x), f"{layer}.output.LayerNorm")


def _mean_of_unit_length(g: _Graph, x: Any, mask: Any) -> Any:
    kept = g.op.multiply(x, g.op.unsqueeze(mask, g.integers(2)))
    total = g.op.reduce_sum(kept, g.integers(1), False)
    mean = g.op.divide(total, g.op.reduce_sum(mask, g.integers(1), True))
    return g.op.normalize_l2(mean, g.integers(1), 1e-12, "add")


def build(weights: Weights) -> openvino.Model:
    """The network as a model with two inputs, int64 of (texts, tokens), in this order: token ids,
    and a mask of 1 for tokens and 0 for padding; and one output, float32 of (texts, 384)."""
    import openvino

    g = _Graph(weights)
    ids = g.op.parameter([-1, -1], np.int64, name="input_ids")
    attention_mask = g.op.parameter([-1, -1], np.int64, name="attention_mask")
    mask = g.op.convert(attention_mask, np.float32)
    one = g.op.constant(np.float32(1))
    scores = g.op.multiply(
        g.op.subtract(one, g.op.unsqueeze(mask, g.integers(1, 2))),
        g.op.constant(np.float32(PADDING_SCORE)),
    )
    x = _embeddings(g, ids)
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        x = _feed_forward(g, _attention(g, x, scores, layer), layer)
    result = g.op.result(_mean_of_unit_length(g, x, mask))
    return openvino.Model([result], [ids, attention_mask], "all-MiniLM-L6-v2")
