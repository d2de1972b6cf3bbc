"""The vector store as the worker opens it."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.common.stamps import Refusal
from sinks.pinecone.queries import PineconeQueries
from sinks.pinecone.settings import PineconeSettings
from sinks.pinecone.sink import PineconeSink
from sinks.pinecone.wire import Wire

_SIMILAR = ("cosine", "dotproduct")
"""Metrics that rank unit vectors by their cosine."""


class PineconeStore:
    """An existing index; namespaces come with their first record, so there is nothing to make."""

    def __init__(self, settings: PineconeSettings) -> None:
        self._settings = settings
        self._wire = Wire(settings)
        self.sink = PineconeSink(self._wire)
        self.queries = PineconeQueries(self._wire, self.sink)

    def init(self) -> Sequence[str]:
        """Checks the index, which is made in Pinecone's console or by its API: where it runs and
        what it costs is not for us to choose. Raises UserError and Unavailable."""
        self.check()
        return (f"Pinecone: the index has {self._settings.dimensions} dimensions; nothing to make",)

    def check(self) -> None:
        """Raises UserError where the index is not as we need it; Unavailable where it is down."""
        if not self._settings.host:
            raise UserError(
                "pinecone.host is not set: the address of the index, as its page shows it."
            )
        if not self._settings.api_key.get_secret_value():
            raise UserError("pinecone.api_key is not set.")
        try:
            stats = self._wire.stats()
        except Refusal:
            raise UserError("pinecone.host does not answer as the address of an index.") from None
        except Unavailable as error:
            if error.code in ("unauthorized", "forbidden"):
                raise UserError("The Pinecone index refuses the API key.") from None
            if error.code == "not_found":
                raise UserError("There is no Pinecone index at pinecone.host.") from None
            raise
        if stats.dimension != self._settings.dimensions:
            raise UserError(
                f"The Pinecone index has {stats.dimension} dimensions and pinecone.dimensions is "
                f"{self._settings.dimensions}."
            )
        if stats.metric is not None and stats.metric not in _SIMILAR:
            raise UserError("The Pinecone index does not compare by cosine or dot product.")

    def size(self) -> int | None:
        """Pinecone does not say how many bytes an index takes."""
        return None

    def close(self) -> None:
        self.sink.close()
        self._wire.close()
