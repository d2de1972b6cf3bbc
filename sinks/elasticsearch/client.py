"""The narrow way to a cluster: bounded calls, and its errors as codes of ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import elastic_transport
from elasticsearch import ApiError, Elasticsearch, ElasticsearchWarning, UnsupportedProductError

from schemas.ports import Unavailable
from sinks.common.deadline import Deadline
from sinks.common.holdoff import Holdoff
from sinks.common.quiet import quiet
from sinks.elasticsearch.settings import ElasticsearchSettings

WHAT = "search"
MISSING = "index_missing"
TOO_LARGE = "too_large"
REFUSED = "refused"

_STATUSES = {
    401: "unauthorized",
    403: "forbidden",
    404: MISSING,
    408: "timeout",
    413: TOO_LARGE,
    429: "overloaded",
    502: "unreachable",
    503: "overloaded",
    504: "timeout",
}
_EXCEPTIONS: tuple[tuple[type[Exception], str], ...] = (
    (elastic_transport.ConnectionTimeout, "timeout"),
    (elastic_transport.TlsError, "tls"),
    (elastic_transport.ConnectionError, "unreachable"),
    (UnsupportedProductError, "not_elasticsearch"),
    (elastic_transport.TransportError, "bad_answer"),
)
"""From the special to the general; what stands first decides."""
_PATIENCE = 0.6
"""Share of the time that is left for which the server may wait for a shard."""

quiet("elastic_transport", "elasticsearch", "urllib3")
warnings.filterwarnings("ignore", category=ElasticsearchWarning)


def code_of_status(status: int) -> str:
    """What a status that is no success means for us."""
    return _STATUSES.get(status, REFUSED if status < 500 else "server_error")


class Client:
    """One cluster. Connects when first used; the library repeats nothing. Safe from any thread.

    Every call raises Unavailable, and one that the server put off is not sent before its time.
    """

    def __init__(self, settings: ElasticsearchSettings) -> None:
        options: dict[str, Any] = {}
        if key := settings.api_key.get_secret_value():
            options["api_key"] = key
        elif settings.user:
            options["basic_auth"] = (settings.user, settings.password.get_secret_value())
        self._seconds = settings.timeout_seconds
        self._elasticsearch = Elasticsearch(
            list(settings.urls),
            max_retries=0,
            retry_on_timeout=False,
            retry_on_status=(),
            request_timeout=settings.timeout_seconds,
            **options,
        )
        self._holdoff = Holdoff(WHAT)
        self._closed = False

    def deadline(self) -> Deadline:
        """The time for one operation, from now."""
        return Deadline(WHAT, self._seconds)

    def bulk(self, lines: Sequence[bytes], deadline: Deadline) -> list[tuple[int, str]]:
        """Status and type of error of each operation, in their order."""
        # Shorter than ours: else one index that lacks its shard would cost us all the answers.
        patience = round(1_000 * _PATIENCE * deadline.left())
        answer = self._call(
            "POST",
            f"/_bulk?filter_path=items.*.status,items.*.error.type&timeout={patience}ms",
            lines,
            deadline,
            "application/x-ndjson",
        )
        items = (next(iter(item.values())) for item in answer.get("items", ()))
        return [(item["status"], item.get("error", {}).get("type", "")) for item in items]

    def existing(self, index: str, ids: Sequence[str], deadline: Deadline) -> set[str]:
        """Those of the documents that there are, as of now."""
        if not ids:
            return set()
        docs = self._get(
            [{"_index": index, "_id": id_, "_source": False} for id_ in ids],
            deadline,
            "?filter_path=docs._id,docs.found,docs.error.type",
        )
        return {doc["_id"] for doc in docs if doc.get("found")}

    def sources(self, places: Sequence[tuple[str, str]], deadline: Deadline) -> list[Any]:
        """The documents at (index, id), as of now; those that are not there are left out."""
        docs = self._get([{"_index": index, "_id": id_} for index, id_ in places], deadline)
        return [doc["_source"] for doc in docs if doc.get("found")]

    def refresh(self, indices: str, deadline: Deadline) -> None:
        """Lets searches find all that was written."""
        _whole(self._call("POST", f"/{indices}/_refresh", None, deadline))

    def search(self, indices: str, body: Mapping[str, Any], deadline: Deadline) -> list[Any]:
        """The hits, of all shards or none."""
        path = (
            f"/{indices}/_search?allow_partial_search_results=false&ignore_unavailable=true"
            "&search_type=dfs_query_then_fetch"
        )
        return cast("list[Any]", self._call("POST", path, body, deadline)["hits"]["hits"])

    def count(self, indices: str, deadline: Deadline) -> int:
        """How many documents searches can find."""
        answer = self._call("GET", f"/{indices}/_count", None, deadline)
        _whole(answer)
        return int(answer["count"])

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Anything else: the answer, or None where there is no such thing (404)."""
        try:
            return self._call(method, path, body, self.deadline())
        except Unavailable as error:
            if error.code == MISSING:
                return None
            raise

    def close(self) -> None:
        """Later calls raise Unavailable."""
        self._closed = True
        self._elasticsearch.close()

    def _get(
        self, docs: Sequence[Mapping[str, Any]], deadline: Deadline, parameters: str = ""
    ) -> list[Any]:
        answer = self._call("POST", f"/_mget{parameters}", {"docs": docs}, deadline)["docs"]
        if any("error" in doc for doc in answer):
            raise Unavailable(WHAT, MISSING)
        return cast("list[Any]", answer)

    def _call(
        self,
        method: str,
        path: str,
        body: Any,
        deadline: Deadline,
        content: str = "application/json",
    ) -> Any:
        if self._closed:
            raise Unavailable(WHAT, "closed")
        self._holdoff.check()
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = content
        client = self._elasticsearch.options(request_timeout=deadline.left())
        try:
            return client.perform_request(method, path, headers=headers, body=body).body
        except (ApiError, elastic_transport.TransportError, UnsupportedProductError) as error:
            self._raise(error)
        except ValueError:
            raise Unavailable(WHAT, "bad_answer") from None

    def _raise(self, error: Exception) -> NoReturn:
        if self._closed:
            raise Unavailable(WHAT, "closed") from None
        if isinstance(error, ApiError) and not isinstance(error, UnsupportedProductError):
            status = error.meta.status
            code = code_of_status(status)
            if status in (429, 503):
                self._holdoff.hold(error.meta.headers.get("retry-after"), code)
            raise Unavailable(WHAT, code, self._holdoff.left) from None
        raise Unavailable(
            WHAT, next(code for kind, code in _EXCEPTIONS if isinstance(error, kind))
        ) from None


def _whole(answer: Any) -> None:
    if answer["_shards"]["failed"]:
        raise Unavailable(WHAT, "shards_failed")
