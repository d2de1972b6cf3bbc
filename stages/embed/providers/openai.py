"""OpenAI's embeddings, and services that speak like it (Azure, vLLM, proxies)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import numpy as np

from stages.embed.providers.api import KnownModel, Limits, Malformed, Purpose, Reply, dimensions_of
from stages.embed.settings import EmbedSettings
from stages.text.encodings import Count, counter

URL: Final = "https://api.openai.com/v1"
DEFAULT: Final = "text-embedding-3-small"
MODELS: Final = {
    "text-embedding-3-small": KnownModel(1536, shortens=True),
    "text-embedding-3-large": KnownModel(3072, shortens=True),
    "text-embedding-ada-002": KnownModel(1536),
}
MOST_TEXTS: Final = 2_048
MOST_TOKENS: Final = 300_000
"""Of all texts of a request together."""
TEXT_TOKENS: Final = 8_191
"""Of one text; what lies behind is not read."""
TEXT_CHARACTERS: Final = 200_000


class _Item(msgspec.Struct, frozen=True):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Item]
    usage: _Usage = _Usage()


_answers = msgspec.json.Decoder(_Answer)


class OpenAi:
    """:class:`.api.Api`. Tokens are counted with cl100k_base, the encoding of these models; with
    another model behind the same interface it is an estimate."""

    provider = "openai"
    path = "/embeddings"

    def __init__(self, settings: EmbedSettings) -> None:
        """Raises UserError."""
        self.model_id = settings.model or DEFAULT
        self.dimensions, self._told = dimensions_of(settings, self.model_id, MODELS)
        self.model = f"openai/{self.model_id}:{self.dimensions}"
        self.limits = Limits(MOST_TEXTS, MOST_TOKENS, _count())
        # Azure takes its keys in a header of its own.
        host = urlsplit(settings.base_url).hostname or ""
        key = settings.api_key.get_secret_value()
        azure = host.endswith(".azure.com") and bool(key)
        self.headers = {"api-key": key} if azure else {}

    def cut(self, text: str) -> str:
        """See :meth:`.api.Api.cut`: the longest beginning of at most 8,191 tokens."""
        return cut(text[:TEXT_CHARACTERS], TEXT_TOKENS, self.limits.count)

    def request(self, texts: Sequence[str], purpose: Purpose) -> bytes:  # noqa: ARG002
        """See :meth:`.api.Api.request`."""
        body: dict[str, Any] = {"model": self.model_id, "input": texts, "encoding_format": "base64"}
        if self._told:
            body["dimensions"] = self.dimensions
        return msgspec.json.encode(body)

    def read(self, body: bytes) -> Reply:
        """See :meth:`.api.Api.read`. Vectors as base64, or as numbers where base64 is not known."""
        try:
            answer = _answers.decode(body)
            items = sorted(answer.data, key=lambda item: item.index)
            if [item.index for item in items] != list(range(len(items))):
                raise Malformed
            vectors = [_vector(item.embedding) for item in items]
        except (msgspec.DecodeError, ValueError, OverflowError):
            raise Malformed from None
        return Reply(vectors, answer.usage.prompt_tokens)


def _vector(embedding: str | list[float]) -> Any:
    if isinstance(embedding, list):
        return np.array(embedding, np.float32)
    try:
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    except binascii.Error:
        raise ValueError from None


def cut(text: str, tokens: int, count: Count) -> str:
    """The longest beginning (in code points) found to have at most so many tokens."""
    # A token is at least one byte.
    if len(text) * 4 <= tokens or count(text) <= tokens:
        return text
    fits, exceeds = 0, len(text)
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if count(text[:middle]) <= tokens:
            fits = middle
        else:
            exceeds = middle
    return text[:fits]


@cache
def _count() -> Count:
    return counter("cl100k_base")
