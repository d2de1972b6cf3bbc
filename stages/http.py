"""JSON over HTTP to one service: a deadline for the whole call, and failures as codes of ours."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from schemas.failures import UserError
from schemas.ports import Unavailable

MOST_BYTES: Final = 64 << 20
"""A larger answer is refused."""
CODES: Final = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
}


class Refused(Unavailable):
    """The service answered with an error status. What else it said is not kept: it may quote what
    was sent."""

    def __init__(self, what: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(what, CODES.get(status, f"http_{status}"), retry_after)
        self.status = status


class HttpService:
    """One base address. Redirects are not followed. Safe from any thread."""

    def __init__(
        self,
        what: str,
        url: str,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        ca: Path | None = None,
        deadline: float,
    ) -> None:
        """Connects when it is first needed. Raises UserError for a CA file it cannot use."""
        self._what = what
        self._url = url.rstrip("/")
        self._deadline = deadline
        sent = {"content-type": "application/json", "accept": "application/json", **(headers or {})}
        if token:
            sent["authorization"] = f"Bearer {token}"
        self._client = httpx.Client(headers=sent, verify=_context(ca), timeout=deadline)

    def post(self, path: str, body: bytes, deadline: float | None = None) -> bytes:
        """The body of a 2xx answer. ``deadline``: seconds, where less than usual are left. Raises
        Unavailable; :class:`Refused` for an error status."""
        seconds = self._deadline if deadline is None else min(self._deadline, max(deadline, 0.01))
        end = time.monotonic() + seconds
        try:
            with self._client.stream(
                "POST", self._url + path, content=body, timeout=seconds
            ) as response:
                answer = self._read(response, end)
        except httpx.TimeoutException:
            raise Unavailable(self._what, "timeout") from None
        except httpx.ConnectError:
            raise Unavailable(self._what, "unreachable") from None
        except httpx.HTTPError:
            raise Unavailable(self._what, "connection_lost") from None
        except RuntimeError:  # The client was closed.
            raise Unavailable(self._what, "closed") from None
        if not response.is_success:
            raise Refused(self._what, response.status_code, retry_after(response.headers))
        return answer

    def close(self) -> None:
        self._client.close()

    def _read(self, response: httpx.Response, end: float) -> bytes:
        """httpx limits the wait for each piece; a server that drips must not hold us for ever."""
        pieces, size = [], 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > MOST_BYTES:
                raise Unavailable(self._what, "answer_too_large")
            if time.monotonic() > end:
                raise Unavailable(self._what, "timeout")
            pieces.append(piece)
        return b"".join(pieces)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or as a date; None without a sound one."""
    value = headers.get("retry-after")
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        raise UserError(f"{ca} cannot be read as a PEM file of certificates.") from None
