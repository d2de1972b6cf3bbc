"""Any model of sentence-transformers, in this process (an extra: it brings torch)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np

from schemas.failures import UserError
from stages.embed.settings import EmbedSettings

DEFAULT: Final = "all-MiniLM-L6-v2"


class TransformersEmbedder:
    """:class:`schemas.ports.Embedder`. Runs of whitespace count as one blank; a text is read up to
    the model's own length (``max_seq_length``). ``[embed] model`` may end in ``@revision``.

    torch pads the texts of a batch to one length, and its sums differ in the last digits with it:
    here a vector is a function of its text to a cosine of 0.9999, not to the last bit.
    """

    def __init__(self, settings: EmbedSettings, library: Any = None) -> None:
        """Loads the model. Raises UserError where it or the library is not there."""
        name, _, revision = (settings.model or DEFAULT).partition("@")
        if library is None:
            library = _library()
        try:
            self._model = library.SentenceTransformer(
                name, revision=revision or None, truncate_dim=settings.dimensions
            )
        except (OSError, ValueError):
            raise UserError(
                f"embed.model: sentence-transformers cannot load {name}. Download it first, or "
                "name a folder that it is in."
            ) from None
        width = self._model.get_sentence_embedding_dimension()
        if not width or (settings.dimensions is not None and width != settings.dimensions):
            raise UserError(
                f"embed.dimensions: {name} cannot make vectors of this length; use "
                "embed.projection to shorten them."
            )
        self.dimensions = int(width)
        pinned = f"@{revision}" if revision else ""
        self.model = f"sentence-transformers/{name}{pinned}:{self.dimensions}"
        self._batch = settings.batch_size

    def embed(self, texts: Sequence[str], /) -> Sequence[bytes]:
        """See the class."""
        if not texts:
            return []
        found = self._model.encode(
            [" ".join(text.split()) for text in texts],
            batch_size=self._batch,
            show_progress_bar=False,
            convert_to_numpy=True,
            # After shortening: a part of a unit vector is none.
            normalize_embeddings=False,
        )
        vectors = np.asarray(found, np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if vectors.shape != (len(texts), self.dimensions) or not (lengths > 0).all():
            raise RuntimeError("the model made no vectors")
        return [row.tobytes() for row in (vectors / lengths).astype("<f4")]


def _library() -> Any:
    try:
        return import_module("sentence_transformers")
    except ModuleNotFoundError:
        raise UserError(
            "The settings need the package sentence-transformers, which is not installed. "
            "Install it with: pip install 'llm-memory-graph[sentence-transformers]'"
        ) from None
