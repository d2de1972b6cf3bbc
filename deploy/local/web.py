"""Small HTTP requests to servers on this machine."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from deploy.local.ports import HOST

_HEADERS = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """The status, and the body as JSON (``{}`` where it is none)."""

    status: int
    body: Any


def ask(
    port: int,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> Answer:
    """GET, or POST where there is a body. :class:`OSError` when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        sent = None if body is None else json.dumps(body)
        method = "GET" if body is None else "POST"
        connection.request(method, path, sent, {**_HEADERS, **(headers or {})})
        answer = connection.getresponse()
        found = answer.read()
    except http.client.HTTPException as error:
        raise OSError("no answer in HTTP") from error
    finally:
        connection.close()
    try:
        return Answer(answer.status, json.loads(found))
    except ValueError:
        return Answer(answer.status, {})
