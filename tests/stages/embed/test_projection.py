"""A projection that is fitted, kept with its version, and refused where it is not as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.failures import UserError
from stages.embed.errors import Incomplete
from stages.embed.projection import Projected, Projection


def sample(count: int, width: int, rank: int) -> Any:
    """Unit vectors near a space of few dimensions."""
    dice = np.random.default_rng(7)
    vectors = dice.standard_normal((count, rank)) @ dice.standard_normal((rank, width))
    vectors += 0.01 * dice.standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")


class Fixed:
    model = "fixed:32"
    dimensions = 32

    def __init__(self, vectors: Any) -> None:
        self._vectors = vectors

    def embed(self, texts: Sequence[str], /) -> list[bytes]:
        return [self._vectors[int(text)].tobytes() for text in texts]


def test_a_projection_keeps_who_is_near_and_names_its_fit(tmp_path: Path) -> None:
    vectors = sample(500, 32, 6)
    fitted = Projection.fit(Fixed.model, vectors[:400], 8)
    assert fitted.kept > 0.99
    fitted.save(tmp_path / "p.safetensors")
    loaded = Projection.load(tmp_path / "p.safetensors")
    assert loaded.version == fitted.version
    embedder = Projected(Fixed(vectors), loaded)
    assert (embedder.model, embedder.dimensions) == (f"fixed:32+pca8@{fitted.version}", 8)
    short = np.array([np.frombuffer(v, "<f4") for v in embedder.embed([*map(str, range(500))])])
    assert np.allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
    full = vectors - vectors[:400].mean(axis=0)
    full = full / np.linalg.norm(full, axis=1, keepdims=True)
    near, before = (short[400:] @ short[:400].T), (full[400:] @ full[:400].T)
    assert np.abs(near - before).max() < 0.05
    other = Projection.fit(Fixed.model, vectors[:399], 8)
    assert other.version != fitted.version
    with pytest.raises(UserError, match="fitted on vectors of"):
        Projected(Fixed(vectors), Projection.fit("other:32", vectors, 8))


@pytest.mark.parametrize(("count", "dimensions"), [(15, 8), (100, 32), (100, 0)])
def test_a_projection_needs_a_sample_and_fewer_dimensions(count: int, dimensions: int) -> None:
    with pytest.raises(UserError):
        Projection.fit("m", sample(count, 32, 6), dimensions)


def test_a_file_that_is_no_projection_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(b"nothing")
    for given_path in (path, tmp_path / "none"):
        with pytest.raises(UserError):
            Projection.load(given_path)


@pytest.mark.parametrize(
    ("facts", "mean", "components"),
    [
        ({"format": "1", "kept": "1"}, (8,), (8, 2)),
        ({"format": "1", "source": "m", "kept": "much"}, (8,), (8, 2)),
        ({"format": "1", "source": "m", "kept": "1"}, (7,), (8, 2)),
        ({"format": "1", "source": "m", "kept": "1"}, (8,), (8,)),
        ({"format": "1", "source": "m", "kept": "1"}, (2,), (2, 8)),
        ({"format": "2", "source": "m", "kept": "1"}, (8,), (8, 2)),
    ],
)
def test_a_file_that_is_not_as_it_was_saved_is_refused_at_the_start(
    tmp_path: Path, facts: dict[str, str], mean: Any, components: Any
) -> None:
    from safetensors.numpy import save_file

    tensors = {"mean": np.zeros(mean, "<f4"), "components": np.ones(components, "<f4")}
    save_file(tensors, tmp_path / "p", facts)
    with pytest.raises(UserError, match="projection"):
        Projection.load(tmp_path / "p")


def test_what_is_incomplete_stays_so_when_shortened() -> None:
    vectors = sample(100, 32, 6)

    class Half(Fixed):
        def embed(self, texts: Sequence[str], /) -> list[bytes]:
            raise Incomplete("embedder", "timeout", [None, vectors[1].tobytes()])

    projection = Projection.fit(Fixed.model, vectors, 8)
    with pytest.raises(Incomplete) as caught:
        Projected(Half(vectors), projection).embed(["0", "1"])
    assert caught.value.vectors == [None, projection.apply(vectors[1].tobytes())]
