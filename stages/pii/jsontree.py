"""JSON values screened leaf by leaf: strings, object keys, large numbers, and JSON in strings."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import msgspec

from schemas.items import WITHHELD, Json, Screened, ScreenedJson
from stages.pii.asker import Asker
from stages.pii.screener import Answer

MAX_DEPTH = 200
_SHORTEST_NUMBER = 1_000_000
"""Numbers below are no entity: the shortest pattern of digits alone has seven of them."""


class TooDeep(Exception):
    """A value nests deeper than ``MAX_DEPTH``."""


class _Object:
    __slots__ = ("members",)

    def __init__(self, members: list[tuple[Answer, Any]]) -> None:
        self.members = members


class _Number:
    __slots__ = ("answer", "digits", "value")

    def __init__(self, value: float, digits: str, answer: Answer) -> None:
        self.value = value
        self.digits = digits
        self.answer = answer


class _Embedded:
    __slots__ = ("node",)

    def __init__(self, node: Any) -> None:
        self.node = node


Node = Any
"""A JSON value with answers in the place of its strings."""


def ask_json(asker: Asker, value: Any, key: str = "", depth: int = 0) -> Node:
    """Ask for everything in ``value``. Raises TooDeep."""
    if isinstance(value, str):
        return ask_string(asker, value, key, depth)
    if isinstance(value, dict):
        if depth >= MAX_DEPTH:
            raise TooDeep
        return _Object(
            [(asker.label(k), ask_json(asker, v, k, depth + 1)) for k, v in value.items()]
        )
    if isinstance(value, list):
        if depth >= MAX_DEPTH:
            raise TooDeep
        return [ask_json(asker, v, key, depth + 1) for v in value]
    if isinstance(value, int | float) and not -_SHORTEST_NUMBER < value < _SHORTEST_NUMBER:
        digits = str(int(value)) if value == math.floor(value) else repr(value)
        return _Number(value, digits, asker.value(digits, key))
    return value


def ask_string(asker: Asker, text: str, key: str = "", depth: int = 0) -> Node:
    """Ask for a string. One that holds a JSON object, array or string is parsed first, so that an
    escape such as ``\\u0040`` cannot hide anything, and written anew as compact JSON."""
    parsed = _parse(text)
    if parsed is not None:
        before = len(asker.answers)
        try:
            return _Embedded(ask_json(asker, parsed, key, depth + 1))
        except TooDeep:
            del asker.answers[before:]
    return asker.value(text, key)


def answer_json(node: Node) -> Json:
    """The screened value. Keys that became equal are told apart by a number."""
    if isinstance(node, Answer):
        return node.text
    if isinstance(node, _Object):
        members: dict[str, Json] = {}
        same: dict[str, int] = {}
        for name, child in node.members:
            key: str = name.text
            while key in members:
                same[name.text] = same.get(name.text, 1) + 1
                key = f"{name.text} {same[name.text]}"
            members[key] = answer_json(child)
        return members
    if isinstance(node, list):
        return [answer_json(child) for child in node]
    if isinstance(node, _Number):
        return node.value if node.answer.text == node.digits else node.answer.text
    if isinstance(node, _Embedded):
        return answer_string(node)
    value: Json = node
    return value


def answer_string(node: Node) -> Screened:
    """The screened string of what :func:`ask_string` gave."""
    if isinstance(node, Answer):
        return node.text
    return Screened(json.dumps(answer_json(node.node), ensure_ascii=False, separators=(",", ":")))


_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(value: Json) -> ScreenedJson:
    """Canonical JSON of a screened value: sorted keys, UTF-8, no spaces."""
    return ScreenedJson(_encode(value))


def withhold(value: Json) -> Json:
    """The value with every string and number in it withheld; keys stay."""
    if isinstance(value, dict):
        return {key: withhold(child) for key, child in value.items()}
    if isinstance(value, list):
        return [withhold(child) for child in value]
    return (
        WITHHELD if isinstance(value, str | int | float) and value not in (True, False) else value
    )


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError
    return value


_decode = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite).decode
_ENDS = {"{": "}", "[": "]", '"': '"'}


def _parse(text: str) -> Json:
    """The JSON container or string in ``text``, or None when it holds none."""
    if len(text) < 2:
        return None
    first, last = text[0], text[-1]
    if first in " \t\r\n" or last in " \t\r\n":
        text = text.strip(" \t\r\n")
        if len(text) < 2:
            return None
        first, last = text[0], text[-1]
    if _ENDS.get(first) != last:
        return None
    try:
        value: Json = _decode(text)
        return _without_surrogates(value) if "\\u" in text else value
    except (ValueError, RecursionError):
        return None


def _without_surrogates(value: Json) -> Json:
    """``value`` with lone surrogates, which escapes can smuggle in, replaced by U+FFFD."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(child) for child in value]
    if isinstance(value, dict):
        return {str(_without_surrogates(k)): _without_surrogates(v) for k, v in value.items()}
    return value
