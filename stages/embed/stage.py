"""Stage 5: prompts and responses get the vector of their screened text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.chunk import Chunk, Outcome
from schemas.items import Embedded
from schemas.ports import Cache, Embedder, Unavailable
from stages.embed.errors import Incomplete
from stages.embed.texts import embeddable

FLOAT_BYTES: Final = 4


class EmbedStage:
    """Fills ``vector`` and ``vector_model``; every event passes.

    Vectors are cached by model and text hash; texts of one hash are encoded once, so an embedder
    has to treat runs of whitespace as one blank, as the hash does. While the embedder is
    unavailable, events pass without a vector: it is an enrichment. Without an embedder
    (``[embed] mode = "off"``) chunks pass untouched. ``encoded``, ``cached`` and ``lacking`` count
    texts since the start.
    """

    name = "embed"

    def __init__(self, embedder: Embedder | None, cache: Cache) -> None:
        self._embedder = embedder
        self._cache = cache
        self.encoded = 0
        self.cached = 0
        self.lacking = 0

    def __call__(self, chunk: Chunk[Embedded], /) -> Outcome[Embedded]:
        if self._embedder is None:
            return Outcome(chunk)
        texts = [embeddable(item.event) for item in chunk.items]
        distinct = {text.hash: text.text for text in texts if text is not None}
        vectors = self._vectors(self._embedder, distinct)
        model = self._embedder.model
        passed = [
            Embedded(item.event, vectors[text.hash], model, item.original)
            if text is not None and text.hash in vectors
            else item
            for item, text in zip(chunk.items, texts, strict=True)
        ]
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time))

    def _vectors(self, embedder: Embedder, texts: Mapping[str, str]) -> dict[str, bytes]:
        """By text hash; those that the unavailable embedder owes are absent."""
        size = embedder.dimensions * FLOAT_BYTES
        keys = [f"{embedder.model}\0{digest}".encode() for digest in texts]
        found = self._cache.get(keys)
        # A cached value of another length is a miss: a cache may be wrong, a vector may not.
        vectors = {
            digest: vector
            for digest, vector in zip(texts, found, strict=True)
            if vector is not None and len(vector) == size
        }
        self.cached += len(vectors)
        missing = [digest for digest in texts if digest not in vectors]
        fresh: Sequence[bytes | None]
        try:
            fresh = embedder.embed([texts[digest] for digest in missing]) if missing else []
        except Incomplete as error:
            fresh = error.vectors
        except Unavailable:
            self.lacking += len(missing)
            return vectors
        found_now = zip(missing, fresh, strict=True)
        by_digest = {digest: vector for digest, vector in found_now if vector is not None}
        self.encoded += len(by_digest)
        self.lacking += len(missing) - len(by_digest)
        self._cache.put(
            [
                (key, by_digest[digest])
                for key, digest in zip(keys, texts, strict=True)
                if digest in by_digest
            ]
        )
        return vectors | by_digest
