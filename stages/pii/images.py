"""What is kept of an image: never its bytes, wherever in the event they stand."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from urllib.parse import unquote_to_bytes

from stages.pii.detect.spans import Span

DATA_URL = "DATA_URL"
_DATA = re.compile(r"\s*data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_DATA_IN_TEXT = re.compile(r"(?:data:[\w.+/-]{0,100}(?:;[\w.=-]{1,100}){0,4})?;base64,[\w+/=-]*")
_USER = re.compile(r"^(\s*[a-z][a-z0-9+.-]*:)?//[^/?#]*@", re.IGNORECASE)


def data_urls(text: str) -> tuple[Span, ...]:
    """Base64 ``data:`` URLs in a text: no pattern can read what they hold, so none is kept."""
    if ";base64," not in text:
        return ()
    return tuple(Span(*m.span(), DATA_URL, 1.0) for m in _DATA_IN_TEXT.finditer(text))


class Picture:
    """Raw facts of an image, to be screened: media type, size in bytes, keyed hash, address."""

    __slots__ = ("key", "mime_type", "size", "url")

    def __init__(self, mime_type: str | None, size: int, key: str, url: str | None) -> None:
        self.mime_type = mime_type
        self.size = size
        self.key = key
        self.url = url


def picture(key: bytes, url: str | None, data: str | None, mime_type: str | None) -> Picture:
    """Facts of an image given by base64 data, by a ``data:`` URL, or by an address.

    ``key`` of the result is 32 hexadecimal digits of a BLAKE2b keyed with ``key`` over the decoded
    bytes, else over the address. A ``data:`` URL is data, not an address. From an address its user
    part (``user:password@``) is cut.
    """
    inline = _DATA.match(url) if url is not None else None
    if inline is not None and url is not None:
        body = url[inline.end() :]
        encoded = inline[2].lower().endswith(";base64")
        content = _decode(body) if encoded else unquote_to_bytes(body)
        mime_type = mime_type or inline[1] or None
        url = None
    else:
        content = None
    if data is not None:
        nested = _DATA.match(data)
        content = _decode(data[nested.end() :] if nested else data)
        mime_type = mime_type or (nested[1] if nested else None) or None
    if content is not None:
        address = None if url is None else _USER.sub(_cut, url)
        return Picture(mime_type, len(content), _hash(key, content), address)
    if url is None:
        return Picture(mime_type, 0, _hash(key, b""), None)
    return Picture(mime_type, 0, _hash(key, url.encode()), _USER.sub(_cut, url))


def _cut(match: re.Match[str]) -> str:
    return (match[1] or "") + "//"


def _decode(data: str) -> bytes:
    """The bytes of base64 data (either alphabet, padding optional), or of the string itself."""
    compact = "".join(data.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return data.encode()


def _hash(key: bytes, content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16, key=key[:64]).hexdigest()
