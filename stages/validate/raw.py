"""The raw pass: bytes to a JSON tree, with what a lenient parser lets through refused.

The fast path is one decode and one re-encode, both in C. The re-encoding finds lone surrogates and
integers beyond 64 bits, and it proves the absence of duplicate keys: a dropped member takes at
least one colon with it, so that equal counts of colons before and after mean that nothing was
dropped. Escaped colons and anything unusual go to the exact, slower examination.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import msgspec
import orjson

from schemas.failures import Detail

_decode = msgspec.json.Decoder().decode
_encode = orjson.dumps
_BOM = b"\xef\xbb\xbf"
_HIGH, _LOW = rb"u[dD][89abAB][0-9a-fA-F]{2}", rb"u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES = re.compile(rb"\\(?:%b\\%b|(%b|%b)|.)" % (_HIGH, _LOW, _HIGH, _LOW), re.DOTALL)
_NOT_FINITE = re.compile(rb'"(?:[^"\\]|\\.)*+"|(NaN|-?Infinity)', re.S)
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
_BACKSLASH = ord("\\")
_ALL_BUT_MARKS = bytes(set(range(256)) - set(b"{[:"))
_CONTAINERS = (dict, list)
_INT64 = (-(1 << 63), (1 << 64) - 1)


class Broken(Exception):
    """A document that is refused: a code of :data:`stages.validate.codes.CODES` and a detail."""

    def __init__(self, code: str, detail: Detail) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def parse(value: bytes, max_depth: int) -> Any:
    """The JSON tree of ``value``; raises :class:`Broken`.

    Beyond RFC 8259 it refuses duplicate keys, lone surrogates, integers outside
    [-2^63, 2^64), numbers that a double cannot hold, and nesting deeper than ``max_depth``.
    """
    try:
        tree = _decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        _refuse(value, error, max_depth)
    marks = value.translate(None, _ALL_BUT_MARKS)
    colons = marks.count(b":")
    if len(marks) - colons > max_depth and _deeper(tree, max_depth):
        raise Broken("too_deep", Detail("$", f"nesting of at most {max_depth}"))
    try:
        encoded = _encode(tree)
    except TypeError:
        _refuse_values(tree)
    if encoded.count(b":") != colons or (_BACKSLASH in value and _ESCAPED_COLON.search(value)):
        _refuse_duplicates(value)
    return tree


def _deeper(tree: Any, limit: int) -> bool:
    level = [tree] if type(tree) in _CONTAINERS else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True


def _refuse(value: bytes, error: Exception, max_depth: int) -> NoReturn:
    if isinstance(error, RecursionError):
        raise Broken("too_deep", Detail("$", f"nesting of at most {max_depth}")) from None
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        raise Broken("invalid_utf8", Detail("$", "UTF-8")) from None
    if isinstance(error, msgspec.ValidationError):
        raise Broken("number_out_of_range", Detail("$", "numbers of 64 bits")) from None
    if value.startswith(_BOM):
        raise Broken("invalid_json", Detail("$", "JSON without a byte order mark")) from None
    if _decodes(_ESCAPES.sub(lambda m: b"\\ufffd" if m[1] else m[0], value)):
        raise Broken("lone_surrogate", Detail("$", "pairs of surrogates")) from None
    if _decodes(_NOT_FINITE.sub(lambda m: b"0" if m[1] else m[0], value)):
        raise Broken("not_finite", Detail("$", "finite numbers")) from None
    raise Broken("invalid_json", Detail("$", "one JSON document")) from None


def _decodes(value: bytes) -> bool:
    try:
        _decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _refuse_values(tree: Any) -> NoReturn:
    """The re-encoder refused: an integer beyond 64 bits or a lone surrogate, whichever is there."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack.extend(node.keys())
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, int) and not _INT64[0] <= node <= _INT64[1]:
            raise Broken("number_out_of_range", Detail("$", "numbers of 64 bits"))
    raise Broken("lone_surrogate", Detail("$", "pairs of surrogates"))


def _refuse_duplicates(value: bytes) -> None:
    json.loads(value.decode(), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Broken("duplicate_key", Detail("$", "every key once in its object"))
