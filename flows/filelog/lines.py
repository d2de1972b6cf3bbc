"""One record as one line of JSON.

``{"timestamp": ms, "key": …, "headers": [{"name": …, "value": …}], "value": "…"}``. The value is a
string of the exact UTF-8 bytes; bytes that are not UTF-8 stand base64-encoded in ``valueBase64``
instead (likewise ``keyBase64``, and ``valueBase64`` of a header).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.log import LogRecord, Origin, Original

Headers = tuple[tuple[str, bytes], ...]


class HeaderLine(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    name: str
    value: str | None = None
    value_base64: str | None = None


class Line(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """``timestamp`` is the log's, in milliseconds since 1970."""

    timestamp: Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
    key: str | None = None
    key_base64: str | None = None
    headers: tuple[HeaderLine, ...] = ()
    value: str | UnsetType = UNSET
    value_base64: str | UnsetType = UNSET


class NewRecord(msgspec.Struct, frozen=True):
    """A record to append: where it goes and what it says. ``partition`` None: by its key."""

    topic: str
    value: bytes
    timestamp: int
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None


_encoder = msgspec.json.Encoder()
decode_line = msgspec.json.Decoder(Line).decode


def _as_text(data: bytes) -> tuple[str | None, str | None]:
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, b64encode(data).decode()


def _header(name: str, data: bytes) -> HeaderLine:
    text, base64 = _as_text(data)
    return HeaderLine(name, text, base64)


def encode_line(record: NewRecord) -> bytes:
    """The line of a record, with its line feed."""
    key, key_base64 = (None, None) if record.key is None else _as_text(record.key)
    value, value_base64 = _as_text(record.value)
    line = Line(
        timestamp=record.timestamp,
        key=key,
        key_base64=key_base64,
        headers=tuple(_header(n, v) for n, v in record.headers),
        value=UNSET if value is None else value,
        value_base64=UNSET if value_base64 is None else value_base64,
    )
    return _encoder.encode(line) + b"\n"


def to_record(line: Line, topic: str, partition: int, offset: int) -> LogRecord:
    """The log record of a decoded line. Raises ``ValueError`` for base64 that is none."""
    if line.value is not UNSET:
        value = line.value.encode()
    elif line.value_base64 is not UNSET:
        value = b64decode(line.value_base64, validate=True)
    else:
        raise ValueError("neither value nor valueBase64")
    key: bytes | None = None
    if line.key is not None:
        key = line.key.encode()
    elif line.key_base64 is not None:
        key = b64decode(line.key_base64, validate=True)
    headers: Headers = ()
    if line.headers:
        headers = tuple(
            (
                h.name,
                b64decode(h.value_base64, validate=True)
                if h.value is None and h.value_base64 is not None
                else (h.value or "").encode(),
            )
            for h in line.headers
        )
    return LogRecord(
        Origin(topic, partition, offset, line.timestamp), Original(key, headers, value)
    )
