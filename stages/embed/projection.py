"""A fitted projection to fewer dimensions, for models that cannot shorten their vectors.

Principal components (Pearson, 1901) of a sample: ``y = (x - mean) · components``, then unit length.
The file (safetensors) says of which model's vectors it is; its hash is part of the name under which
the shortened vectors are stored, so that those of two fits never mix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.failures import UserError
from schemas.ports import Embedder
from stages.embed.errors import Incomplete

FORMAT: Final = "1"
LEAST: Final = 2
"""Times as many texts in the sample as dimensions in the result."""

Matrix = npt.NDArray[np.float32]


class Projection:
    """Maps vectors of ``source`` to ``dimensions``; ``version`` is of the file's content."""

    def __init__(self, source: str, mean: Matrix, components: Matrix, kept: float) -> None:
        """``components``: (dimensions of the source, fewer dimensions), orthonormal columns.
        ``kept``: the share of the sample's variance that is left."""
        self.source = source
        self.kept = kept
        self._mean = np.ascontiguousarray(mean, "<f4")
        self._components = np.ascontiguousarray(components, "<f4")
        self.dimensions = int(components.shape[1])
        digest = hashlib.sha256(source.encode() + b"\0" + self._mean.tobytes())
        digest.update(self._components.tobytes())
        self.version = digest.hexdigest()[:12]

    @classmethod
    def fit(cls, source: str, vectors: npt.NDArray[Any], dimensions: int) -> Projection:
        """From a sample, (texts, dimensions of the source). Raises UserError for too small a one.

        A function of the sample alone, but for rounding; the sign of each component is fixed.
        """
        count, width = vectors.shape
        if not 1 <= dimensions < width:
            raise UserError(f"A projection of {width} dimensions keeps at least 1 and fewer of it.")
        if count < LEAST * dimensions:
            raise UserError(
                f"A projection to {dimensions} dimensions needs a sample of at least "
                f"{LEAST * dimensions} different texts; there are {count}."
            )
        exact = vectors.astype(np.float64)
        mean = exact.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(exact - mean, rowvar=False))
        order = np.argsort(values)[::-1][:dimensions]
        components = axes[:, order]
        largest = np.abs(components).argmax(axis=0)
        components = components * np.sign(components[largest, np.arange(dimensions)])
        total = float(values.sum())
        kept = float(values[order].sum()) / total if total > 0 else 1.0
        return cls(source, mean.astype("<f4"), components.astype("<f4"), kept)

    def apply(self, vector: bytes) -> bytes:
        """One vector of the source (float32, little-endian), shortened, of unit length."""
        values = np.frombuffer(vector, "<f4").astype(np.float64) - self._mean
        short = values @ self._components.astype(np.float64)
        length = float(np.linalg.norm(short))
        if length == 0.0:  # The sample's very mean: any direction is as good; the first one.
            short = np.eye(1, self.dimensions)[0]
            length = 1.0
        unit: Matrix = (short / length).astype("<f4")
        return unit.tobytes()

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        facts = {"format": FORMAT, "source": self.source, "kept": json.dumps(self.kept)}
        save_file({"mean": self._mean, "components": self._components}, path, facts)

    @classmethod
    def load(cls, path: Path) -> Projection:
        """Raises UserError for a file it cannot use."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                facts = file.metadata() or {}
                if facts.get("format") != FORMAT:
                    raise UserError(f"{path} is no projection of a format that is known here.")
                mean, components = file.get_tensor("mean"), file.get_tensor("components")
                source, kept = facts["source"], float(facts["kept"])
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such file.") from None
        except (OSError, SafetensorError, KeyError, ValueError):
            raise UserError(f"{path} is no file of a projection.") from None
        shape = components.shape
        if len(shape) != 2 or mean.shape != shape[:1] or not 1 <= shape[1] < shape[0]:
            raise UserError(f"{path} is no file of a projection.")
        return cls(source, mean, components, kept)


class Projected:
    """:class:`schemas.ports.Embedder`: another one's vectors, shortened."""

    def __init__(self, inner: Embedder, projection: Projection) -> None:
        """Raises UserError for a projection of another model's vectors."""
        if projection.source != inner.model:
            raise UserError(
                f"embed.projection was fitted on vectors of {projection.source}, not of "
                f"{inner.model}: fit one with memory-graph embed fit."
            )
        self._inner = inner
        self._projection = projection
        self.model = f"{inner.model}+pca{projection.dimensions}@{projection.version}"
        self.dimensions = projection.dimensions

    def embed(self, texts: Sequence[str], /) -> Sequence[bytes]:
        """As the inner one, shortened."""
        try:
            return [self._projection.apply(vector) for vector in self._inner.embed(texts)]
        except Incomplete as error:
            found = [None if v is None else self._projection.apply(v) for v in error.vectors]
            raise Incomplete(error.what, error.code, found) from error

    def __getattr__(self, name: str) -> Any:
        """``check``, ``usage`` and ``close`` are those of the inner one, if it has them."""
        if name not in ("check", "usage", "close"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    @property
    def embed_query(self) -> Callable[[str], bytes]:
        """The vector of a text to search with."""
        inner: Callable[[str], bytes] = getattr(
            self._inner, "embed_query", lambda text: self._inner.embed([text])[0]
        )
        return lambda text: self._projection.apply(inner(text))
