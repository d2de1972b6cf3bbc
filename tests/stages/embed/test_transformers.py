"""sentence-transformers, behind a double of the library."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from schemas.failures import UserError
from stages.embed import EmbedSettings
from stages.embed.providers.transformers import TransformersEmbedder
from tests.stages.embed.services import values


class FakeTransformer:
    """The part of ``sentence_transformers.SentenceTransformer`` that is used, with its names and
    types (5.x); torch is not installed where these tests run."""

    def __init__(self, name: str, *, revision: str | None = None, truncate_dim: int | None = None):
        if name == "missing":
            raise OSError("not a local folder and is not a valid model identifier: missing")
        self.given = (name, revision)
        self.truncate_dim = truncate_dim
        self.encoded: list[list[str]] = []

    def get_sentence_embedding_dimension(self) -> int | None:
        return self.truncate_dim or 384

    def encode(
        self,
        sentences: list[str],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        normalize_embeddings: bool = False,
    ) -> Any:
        assert convert_to_numpy
        assert not show_progress_bar
        self.encoded.append(sentences)
        size = self.get_sentence_embedding_dimension() or 0
        return np.array([values(text, 384)[:size] for text in sentences], np.float32)


LIBRARY = types.SimpleNamespace(SentenceTransformer=FakeTransformer)


@pytest.mark.parametrize("dimensions", [None, 64])
def test_sentence_transformers_behind_a_double(dimensions: int | None) -> None:
    settings = EmbedSettings(
        provider="sentence-transformers", model="some/model@abc", dimensions=dimensions
    )
    embedder = TransformersEmbedder(settings, LIBRARY)
    size = dimensions or 384
    assert embedder.model == f"sentence-transformers/some/model@abc:{size}"
    found = [np.frombuffer(v, "<f4") for v in embedder.embed(["a \n b", "c"])]
    assert embedder._model.encoded == [["a b", "c"]]
    assert embedder._model.given == ("some/model", "abc")
    for vector, text in zip(found, ["a b", "c"], strict=True):
        expected = np.array(values(text, 384)[:size])
        assert vector.shape == (size,)
        assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert embedder.embed([]) == []
    with pytest.raises(UserError, match="cannot load"):
        TransformersEmbedder(
            EmbedSettings(provider="sentence-transformers", model="missing"), LIBRARY
        )
