"""The narrow way to a server: bounded calls, and its errors as codes of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, cast

import msgspec
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from schemas.ports import Unavailable
from sinks.common.deadline import Deadline
from sinks.common.holdoff import Holdoff
from sinks.common.quiet import quiet
from sinks.influxdb.settings import InfluxSettings

WHAT = "timeseries"
MISSING = "bucket_missing"
TOO_LARGE = "too_large"
REFUSED = "refused"

_STATUSES = {
    400: REFUSED,
    401: "unauthorized",
    403: "forbidden",
    404: MISSING,
    408: "timeout",
    413: TOO_LARGE,
    422: REFUSED,
    429: "overloaded",
    502: "unreachable",
    503: "overloaded",
    504: "timeout",
}
_EXCEPTIONS: tuple[tuple[type[Exception], str], ...] = (
    (urllib3.exceptions.NewConnectionError, "unreachable"),
    (urllib3.exceptions.TimeoutError, "timeout"),
    (urllib3.exceptions.SSLError, "tls"),
    (urllib3.exceptions.ProtocolError, "unreachable"),
    (urllib3.exceptions.HTTPError, "unreachable"),
)
"""From the special to the general; what stands first decides."""
_CHUNK = 10_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001

quiet("urllib3", "influxdb_client", "Rx")


class Client:
    """One server. Connects when first used; nothing is repeated. Safe from any thread.

    Every call raises Unavailable, and one that the server put off is not sent before its time.
    Queries are InfluxQL: its sums and integers are exact, and several statements go at once.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        token = settings.token.get_secret_value()
        self._seconds = settings.timeout_seconds
        self._org = settings.org
        self._headers = {"Authorization": f"Token {token}"}
        self._influx: Any = InfluxDBClient(settings.url, token, org=settings.org, retries=False)
        self._url = settings.url.rstrip("/")
        self._holdoff = Holdoff(WHAT)
        self._closed = False

    def deadline(self, patience: float = 1.0) -> Deadline:
        """The time for one operation, from now; so many times as long for one that reads all."""
        return Deadline(WHAT, patience * self._seconds)

    def write(self, bucket: str, lines: str, deadline: Deadline) -> None:
        """Writes lines; durable when it returns. :data:`REFUSED`: a line is at fault, and others
        may have been written."""
        query = {"org": self._org, "bucket": bucket, "precision": "ns"}
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        self._done(self._call("POST", "/api/v2/write", deadline, query, headers, lines.encode()))

    def query(
        self, bucket: str, statements: Sequence[str], deadline: Deadline
    ) -> list[list[Mapping[str, Any]]]:
        """The rows of each statement, by column; times in ns."""
        if not statements:
            return []
        found: list[list[Mapping[str, Any]]] = [[] for _ in statements]
        for number, columns, values in self._results(bucket, statements, deadline):
            found[number] += [dict(zip(columns, row, strict=True)) for row in values]
        return found

    def stream(self, bucket: str, statement: str) -> Iterator[tuple[list[str], list[list[Any]]]]:
        """Columns and rows of one statement, in parts, for as long as each part comes in time."""
        for _, columns, values in self._results(bucket, [statement], self.deadline()):
            yield columns, values

    def delete(self, bucket: str, time_ns: int, predicate: str, deadline: Deadline) -> None:
        """Removes the points of one nanosecond whose tags are as the predicate says."""
        at = _rfc3339(time_ns)
        body = {"start": at, "stop": at, "predicate": predicate}
        query = {"org": self._org, "bucket": bucket}
        self._done(self._call("POST", "/api/v2/delete", deadline, query, {}, body))

    def get(self, path: str, query: Mapping[str, str]) -> Any:
        """A document of the API."""
        return msgspec.json.decode(self._done(self._call("GET", path, self.deadline(), query)))

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Makes something by the API."""
        self._done(self._call("POST", path, self.deadline(), {}, {}, body))

    def text(self, path: str) -> str:
        """A plain document."""
        return self._done(self._call("GET", path, self.deadline(), {})).decode()

    def close(self) -> None:
        """Later calls raise Unavailable."""
        self._closed = True
        self._influx.close()

    def _results(
        self, bucket: str, statements: Sequence[str], deadline: Deadline
    ) -> Iterator[tuple[int, list[str], list[list[Any]]]]:
        query = {"db": bucket, "epoch": "ns", "chunked": "true", "chunk_size": str(_CHUNK)}
        try:
            answer = self._call(
                "POST",
                "/query",
                deadline,
                query,
                {"Content-Type": "application/vnd.influxql"},
                ";".join(statements).encode(),
            )
        except Unavailable as error:
            # No record is to blame, as it is for lines that are refused.
            if error.code in (REFUSED, TOO_LARGE):
                raise Unavailable(WHAT, "query_failed") from None
            raise
        ended = False
        try:
            for line in answer:
                for result in msgspec.json.decode(line)["results"]:
                    if "error" in result:
                        raise Unavailable(WHAT, "query_failed")
                    for series in result.get("series", ()):
                        yield result["statement_id"], series["columns"], series["values"]
            ended = True
        except urllib3.exceptions.HTTPError as error:
            self._raise(error)
        except (msgspec.DecodeError, KeyError):
            raise Unavailable(WHAT, "bad_answer") from None
        finally:
            # Left before its end, the answer cannot be followed by another on its connection.
            answer.drain_conn() if ended else answer.close()

    def _done(self, answer: urllib3.HTTPResponse) -> bytes:
        try:
            return answer.data
        except urllib3.exceptions.HTTPError as error:
            self._raise(error)

    def _call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> urllib3.HTTPResponse:
        if self._closed:
            raise Unavailable(WHAT, "closed")
        self._holdoff.check()
        try:
            answer = self._influx.api_client.request(
                method,
                self._url + path,
                query_params=dict(query),
                headers=self._headers | dict(headers or {}),
                body=body,
                _preload_content=False,
                _request_timeout=deadline.left() * 1_000,
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            self._raise(error)
        return cast("urllib3.HTTPResponse", answer)

    def _raise(self, error: Exception) -> NoReturn:
        if self._closed:
            raise Unavailable(WHAT, "closed") from None
        if isinstance(error, ApiException):
            status = error.status or 0
            code = _STATUSES.get(status, REFUSED if 0 < status < 500 else "server_error")
            if status in (429, 503):
                self._holdoff.hold(_header(error, "Retry-After"), code)
            raise Unavailable(WHAT, code, self._holdoff.left) from None
        raise Unavailable(
            WHAT, next(code for kind, code in _EXCEPTIONS if isinstance(error, kind))
        ) from None


def _header(error: ApiException, name: str) -> str | None:
    headers: Any = error.headers
    return None if headers is None else headers.get(name)


def _rfc3339(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
