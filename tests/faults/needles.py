"""Searches large files for every guise of thousands of markers at once."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

_PREFIX = 8
_DIGESTS = ("md5", "sha1", "sha256", "sha512", "blake2b")


class Needles:
    """``markers`` maps what must not be found to the place it was planted in; ``whole`` are texts
    whose hashes must not be found either."""

    def __init__(self, markers: Mapping[str, str], whole: Iterable[str] = ()) -> None:
        self._anywhere: dict[bytes, list[tuple[bytes, str]]] = {}
        self._exact: dict[bytes, list[tuple[bytes, str]]] = {}
        for marker, place in markers.items():
            for form in _forms(marker):
                self._add(self._anywhere, form.lower().encode(), place)
            for raw in (*_digests(marker), *_numbers(marker)):
                self._add(self._exact, raw, place)
        for text in whole:
            for digest in _digests(text):
                self._add(self._exact, digest, f"hash of a text: {text[:40]}")
                self._add(self._anywhere, digest.hex().encode(), f"hash of a text: {text[:40]}")
                encoded = base64.b64encode(digest).lower().rstrip(b"=")
                self._add(self._anywhere, encoded, f"hash of a text: {text[:40]}")

    def secret(self, secret: bytes, place: str) -> None:
        """Bytes that must not be found, nor in hex or base64."""
        self._add(self._exact, secret, place)
        self._add(self._anywhere, secret.hex().encode(), place)
        self._add(self._anywhere, base64.b64encode(secret).lower().rstrip(b"="), place)

    def found(self, haystack: bytes) -> set[str]:
        """The places whose markers are in there, whatever their case."""
        return _search(self._anywhere, haystack.lower()) | _search(self._exact, haystack)

    @staticmethod
    def _add(index: dict[bytes, list[tuple[bytes, str]]], form: bytes, place: str) -> None:
        assert len(form) >= _PREFIX, form
        index.setdefault(form[:_PREFIX], []).append((form, place))


def _search(index: Mapping[bytes, list[tuple[bytes, str]]], haystack: bytes) -> set[str]:
    """All places at which the first bytes agree are looked at in full."""
    haystack += bytes(2 * _PREFIX)
    keys = np.sort(np.frombuffer(b"".join(index), dtype="<u8"))
    found = set()
    for shift in range(_PREFIX):
        usable = (len(haystack) - shift) // _PREFIX * _PREFIX
        words = np.frombuffer(haystack, dtype="<u8", offset=shift, count=usable // _PREFIX)
        at = np.minimum(np.searchsorted(keys, words), len(keys) - 1)
        for hit in np.nonzero(keys[at] == words)[0]:
            start = shift + int(hit) * _PREFIX
            for form, place in index[haystack[start : start + _PREFIX]]:
                if haystack.startswith(form, start):
                    found.add(place)
    return found


def _forms(marker: str) -> Iterator[str]:
    """Plain, escaped once or twice, in hex, in base64 at every alignment; hashes in text."""
    raw = marker.encode()
    escaped = json.dumps(marker).strip('"').replace("@", "\\u0040")
    yield from {marker, quote(marker, safe=""), quote(quote(marker, safe="")), escaped}
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
