"""Cohere's embeddings (version 2 of its interface)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from stages.embed.providers.api import KnownModel, Limits, Malformed, Purpose, Reply, dimensions_of
from stages.embed.settings import EmbedSettings

URL: Final = "https://api.cohere.com"
DEFAULT: Final = "embed-v4.0"
MODELS: Final = {
    "embed-v4.0": KnownModel(1536, shortens=True),
    "embed-english-v3.0": KnownModel(1024),
    "embed-english-light-v3.0": KnownModel(384),
    "embed-multilingual-v3.0": KnownModel(1024),
    "embed-multilingual-light-v3.0": KnownModel(384),
}
MOST_TEXTS: Final = 96
MOST_CHARACTERS: Final = 2_000_000
"""Of a request, a bound of ours on its size: the service names none."""
TEXT_CHARACTERS: Final = 200_000
"""Of one text. The service itself then cuts it at its end to what the model reads."""


class _Embeddings(msgspec.Struct, frozen=True):
    vectors: list[list[float]] = msgspec.field(name="float")


class _Billed(msgspec.Struct, frozen=True):
    input_tokens: float = 0


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Billed = _Billed()


class _Answer(msgspec.Struct, frozen=True):
    embeddings: _Embeddings
    meta: _Meta = _Meta()


_answers = msgspec.json.Decoder(_Answer)
_INPUT: Final[dict[Purpose, str]] = {"document": "search_document", "query": "search_query"}


class Cohere:
    """:class:`.api.Api`."""

    provider = "cohere"
    path = "/v2/embed"
    limits = Limits(MOST_TEXTS, MOST_CHARACTERS, len)

    def __init__(self, settings: EmbedSettings) -> None:
        """Raises UserError."""
        self.model_id = settings.model or DEFAULT
        self.dimensions, self._told = dimensions_of(settings, self.model_id, MODELS)
        self.model = f"cohere/{self.model_id}:{self.dimensions}"
        self.headers: dict[str, str] = {}

    def cut(self, text: str) -> str:
        """See :meth:`.api.Api.cut`."""
        return text[:TEXT_CHARACTERS]

    def request(self, texts: Sequence[str], purpose: Purpose) -> bytes:
        """See :meth:`.api.Api.request`."""
        body: dict[str, Any] = {
            "model": self.model_id,
            "texts": texts,
            "input_type": _INPUT[purpose],
            "embedding_types": ["float"],
            "truncate": "END",
        }
        if self._told:
            body["output_dimension"] = self.dimensions
        return msgspec.json.encode(body)

    def read(self, body: bytes) -> Reply:
        """See :meth:`.api.Api.read`."""
        try:
            answer = _answers.decode(body)
            vectors = [np.array(vector, np.float32) for vector in answer.embeddings.vectors]
            return Reply(vectors, int(answer.meta.billed_units.input_tokens))
        except (msgspec.DecodeError, ValueError, OverflowError):
            raise Malformed from None
