"""The index through its client: bounded calls, requests within the limits, errors as our codes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from pinecone import Pinecone, errors
from pinecone._internal.config import RetryConfig
from pinecone._internal.constants import DATA_PLANE_API_VERSION
from pinecone._internal.http_client import HTTPClient
from pinecone.index import Index

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.common.holdoff import Holdoff
from sinks.common.quiet import quiet
from sinks.common.stamps import Refusal
from sinks.pinecone.settings import PineconeSettings

PART = "vector"
MOST_RECORDS = 1_000
MOST_BYTES = 2_000_000
MOST_DELETED = 1_000
_MOST_FETCHED = 100
"""Ids of one fetch: they are in the URL, which servers bound at 8 KiB."""
_PAGE = 1_000
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (errors.RateLimitError, "rate_limited"),
    (errors.UnauthorizedError, "unauthorized"),
    (errors.ForbiddenError, "forbidden"),
    (errors.PaymentRequiredError, "payment_required"),
    (errors.NotFoundError, "not_found"),
    (errors.ServiceError, "server_error"),
    (errors.PineconeTimeoutError, "timeout"),
    (errors.PineconeConnectionError, "unreachable"),
    (errors.ResponseParsingError, "bad_answer"),
)
_PERMANENT = (400, 413, 422)
_encode = msgspec.json.Encoder().encode

quiet("pinecone", "httpx", "httpcore")

T = TypeVar("T")
U = TypeVar("U")
Vector = dict[str, Any]


class Wire:
    """Connects when first called. Safe from any thread.

    A call raises Unavailable, or Refusal for a request that will never pass. The client's own
    retries and batches are off: whoever sends decides, and learns of each record. After a 429 with
    ``Retry-After`` nothing is sent before that time.
    """

    def __init__(self, settings: PineconeSettings) -> None:
        self.settings = settings
        self._index: Index | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._holdoff = Holdoff(PART)
        self._pool = ThreadPoolExecutor(settings.connections, thread_name_prefix="pinecone")

    def each(self, action: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """The answers in order, of a few requests at a time. Raises the first failure, when all
        are done."""
        if len(items) < 2:
            return [action(item) for item in items]
        try:
            futures = [self._pool.submit(action, item) for item in items]
            wait(futures)
            return [future.result() for future in futures]
        except (CancelledError, RuntimeError):
            if not self._closed:
                raise
            raise Unavailable(PART, "closed") from None

    def upsert(self, namespace: str, vectors: Sequence[Vector]) -> int | None:
        """One request; answers its log sequence number, where the server tells."""
        answer = self._call(
            lambda index: index.upsert(vectors=list(vectors), namespace=self._name(namespace))
        )
        return answer.response_info.lsn_committed if answer.response_info else None

    def delete(self, unwanted: Mapping[str, Collection[str]]) -> None:
        """Ids by namespace. What is not there is as good as deleted."""

        def delete(item: tuple[str, list[str]]) -> None:
            namespace, part = item
            self._found(lambda index: index.delete(ids=part, namespace=self._name(namespace)))

        self.each(delete, list(_parts_of(unwanted, MOST_DELETED)))

    def fetch(self, wanted: Mapping[str, Collection[str]]) -> dict[tuple[str, str], Any]:
        """Ids by namespace; the vectors that are there, by both."""

        def fetch(item: tuple[str, list[str]]) -> dict[tuple[str, str], Any]:
            namespace, part = item
            answer = self._found(
                lambda index: index.fetch(ids=part, namespace=self._name(namespace))
            )
            return {(namespace, id_): v for id_, v in answer.vectors.items()} if answer else {}

        found: dict[tuple[str, str], Any] = {}
        for vectors in self.each(fetch, list(_parts_of(wanted, _MOST_FETCHED))):
            found |= vectors
        return found

    def matching(
        self, namespace: str, field: str, values: Sequence[str]
    ) -> tuple[dict[str, Any], int | None]:
        """The vectors whose metadata field has one of the values, by id; and up to which log
        sequence number they are known, where the server tells."""
        found: dict[str, Any] = {}
        seen: list[int | None] = []
        name = self._name(namespace)
        for part in _parts(values, _PAGE):
            token: str | None = None
            while True:
                answer = self._found(
                    lambda index: index.fetch_by_metadata(
                        filter={field: {"$in": part}},  # noqa: B023
                        namespace=name,
                        limit=_PAGE,
                        pagination_token=token,  # noqa: B023
                    )
                )
                if answer is None:
                    break
                found.update(answer.vectors)
                info = answer.response_info
                seen.append(info.lsn_reconciled if info else None)
                token = answer.pagination.next if answer.pagination else None
                if not token:
                    break
        known = [number for number in seen if number is not None]
        return found, min(known) if known else None

    def query(
        self, namespace: str, vector: list[float], count: int, condition: Mapping[str, Any]
    ) -> Sequence[Any]:
        """The nearest vectors with their metadata, best first."""
        name = self._name(namespace)
        answer = self._found(
            lambda index: index.query(
                vector=vector,
                top_k=count,
                namespace=name,
                filter=dict(condition) or None,
                include_metadata=True,
            )
        )
        return answer.matches if answer else ()

    def stats(self) -> Any:
        return self._call(lambda index: index.describe_index_stats())

    def namespaces(self) -> dict[str, int]:
        """Our namespaces and how many vectors are in each."""
        prefix = self._name("")
        return {
            name.removeprefix(prefix): summary.vector_count
            for name, summary in self.stats().namespaces.items()
            if name.startswith(prefix)
        }

    def close(self) -> None:
        """Later calls are Unavailable (``closed``)."""
        with self._lock:
            self._closed = True
            index, self._index = self._index, None
        self._pool.shutdown(cancel_futures=True)
        if index is not None:
            index.close()

    def _name(self, namespace: str) -> str:
        return f"{self.settings.prefix}:{namespace}" if self.settings.prefix else namespace

    def _found(self, action: Callable[[Index], T]) -> T | None:
        """None for a namespace that is not there: the API makes it with the first record."""
        try:
            return self._call(action)
        except Unavailable as error:
            if error.code != "not_found":
                raise
            return None

    def _call(self, action: Callable[[Index], T]) -> T:
        self._holdoff.check()
        try:
            return action(self._connected())
        except errors.PineconeError as error:
            code = next((code for kind, code in _CODES if isinstance(error, kind)), "")
            if code:
                asked = error.retry_after if isinstance(error, errors.RateLimitError) else None
                if asked is not None:
                    self._holdoff.hold(str(asked), code)
                raise Unavailable(PART, code, asked) from None
            if isinstance(error, errors.ApiError) and error.status_code not in _PERMANENT:
                raise Unavailable(PART, "refused") from None
            large = isinstance(error, errors.PayloadTooLargeError)
            raise Refusal("too_large" if large else "bad_request") from None
        except RuntimeError:
            # httpx, of a client that another thread has closed.
            if not self._closed:
                raise
            raise Unavailable(PART, "closed") from None

    def _connected(self) -> Index:
        with self._lock:
            if self._closed:
                raise Unavailable(PART, "closed")
            if self._index is None:
                self._index = _index(self.settings)
            return self._index


def requests(vectors: Sequence[Vector]) -> Iterator[list[int]]:
    """Which vectors go into one request: within the limits of records and bytes."""
    part: list[int] = []
    size = 0
    for number, vector in enumerate(vectors):
        more = len(_encode(vector)) + 1
        if part and (len(part) == MOST_RECORDS or size + more > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(number)
        size += more
    if part:
        yield part


def _parts_of(ids: Mapping[str, Collection[str]], most: int) -> Iterator[tuple[str, list[str]]]:
    for namespace, wanted in ids.items():
        for part in _parts(wanted, most):
            yield namespace, part


def _parts(items: Iterable[str], most: int) -> Iterator[list[str]]:
    found = iter(items)
    while part := list(itertools.islice(found, most)):
        yield part


def _index(settings: PineconeSettings) -> Index:
    if not settings.host:
        raise UserError("pinecone.host is not set: the address of the index.")
    key = settings.api_key.get_secret_value()
    if not key:
        raise UserError("The Pinecone API key is not set.")
    client = Pinecone(api_key=key, timeout=settings.timeout_seconds)
    index = client.index(host=settings.host)
    # The index client takes no retry policy of ours: by default it would sleep up to a minute.
    once = replace(index._config, retry_config=RetryConfig(max_retries=0))
    index._http.close()
    index._http = HTTPClient(once, DATA_PLANE_API_VERSION)
    return index
