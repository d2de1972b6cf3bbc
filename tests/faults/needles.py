"""Searches large files for every guise of thousands of markers at once, also across line ends."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import quopri
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

_PREFIX = 8
_ENDS = ((b"\r", b"\n"), (b"\\r", b"\\n"))
_DIGESTS = ("md5", "sha1", "sha256", "sha512", "blake2b")


class Needles:
    """``markers`` maps what must not be found to the place it was planted in; ``whole`` are texts
    whose hashes must not be found either."""

    def __init__(self, markers: Mapping[str, str], whole: Iterable[str] = ()) -> None:
        self._anywhere = _Index()
        self._exact = _Index()
        for marker, place in markers.items():
            for form in _forms(marker):
                self._anywhere.add(form.lower().encode(), place)
            # Without its last zero it is in the other byte order as well, from its second byte on.
            wide = marker.lower().encode("utf-16-le")[:-1]
            self._anywhere.add(wide, place)
            for raw in (*_digests(marker), *_numbers(marker)):
                self._exact.add(raw, place)
        for text in whole:
            for digest in _digests(text):
                self._exact.add(digest, f"hash of a text: {text[:40]}")
                self._anywhere.add(digest.hex().encode(), f"hash of a text: {text[:40]}")
                encoded = base64.b64encode(digest).lower().rstrip(b"=")
                self._anywhere.add(encoded, f"hash of a text: {text[:40]}")

    def secret(self, secret: bytes, place: str) -> None:
        """Bytes that must not be found, nor in hex or base64."""
        self._exact.add(secret, place)
        self._anywhere.add(secret.hex().encode(), place)
        self._anywhere.add(base64.b64encode(secret).lower().rstrip(b"="), place)

    def found(self, haystack: bytes) -> set[str]:
        """The places whose markers are in there, whatever their case and the ends of lines."""
        lower = haystack.lower()
        found = self._exact.search(haystack) | self._anywhere.search(lower)
        for ends in _ENDS:
            if any(end in lower for end in ends):
                joined = lower
                for end in ends:
                    joined = joined.replace(end, b"")
                found |= self._anywhere.search(joined)
        return found


class _Index:
    """Forms by their first bytes."""

    def __init__(self) -> None:
        self._forms: dict[bytes, set[tuple[bytes, str]]] = {}
        self._keys: npt.NDArray[np.uint64] | None = None

    def add(self, form: bytes, place: str) -> None:
        assert len(form) >= _PREFIX, form
        self._forms.setdefault(form[:_PREFIX], set()).add((form, place))
        self._keys = None

    def search(self, haystack: bytes) -> set[str]:
        """All places at which the first bytes agree are looked at in full."""
        if self._keys is None:
            self._keys = np.sort(np.frombuffer(b"".join(self._forms), dtype="<u8"))
        haystack += bytes(2 * _PREFIX)
        found = set()
        for shift in range(_PREFIX):
            usable = (len(haystack) - shift) // _PREFIX * _PREFIX
            words = np.frombuffer(haystack, dtype="<u8", offset=shift, count=usable // _PREFIX)
            at = np.minimum(np.searchsorted(self._keys, words), len(self._keys) - 1)
            for hit in np.nonzero(self._keys[at] == words)[0]:
                start = shift + int(hit) * _PREFIX
                for form, place in self._forms[haystack[start : start + _PREFIX]]:
                    if haystack.startswith(form, start):
                        found.add(place)
        return found


def _forms(marker: str) -> Iterator[str]:
    """Plain, escaped once or twice, in hex, in base64 at every alignment; hashes in text."""
    raw = marker.encode()
    escaped = json.dumps(marker).strip('"').replace("@", "\\u0040")
    yield from {marker, quote(marker, safe=""), quote(quote(marker, safe="")), escaped}
    yield from {html.escape(marker).replace("@", entity) for entity in ("&#64;", "&#x40;")}
    yield quopri.encodestring(raw).decode().replace("@", "=40")
    yield " ".join([f"{character:x}" for character in raw])
    yield escaped.replace("\\", "\\\\")
    yield raw.hex()
    for pad in range(3):
        # The first and last characters also depend on what stands around the marker.
        encoded = base64.b64encode(b"\0" * pad + raw).decode()
        inner = encoded[4 if pad else 0 : -4]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
    for digest in _digests(marker):
        yield digest.hex()
        yield base64.b64encode(digest).decode().rstrip("=")


def _digests(text: str) -> Iterator[bytes]:
    for name in _DIGESTS:
        yield hashlib.new(name, text.encode()).digest()[:32]


def _numbers(marker: str) -> Iterator[bytes]:
    """A number as SQLite keeps it, as an integer and as a real."""
    if marker.isdigit():
        yield struct.pack(">q", int(marker))
        yield struct.pack(">d", float(marker))


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
