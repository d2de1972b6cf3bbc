"""Templates: the shape that prompts share, and whether a given one reproduces its text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from stages.text.masking import mask
from stages.text.normal import collapse

MAX_FILLED: Final = 4_000_000
_PARAMETER: Final = re.compile(r"\{\{\s{0,8}([\w.-]{1,256})\s{0,8}\}\}")
_REPEATED: Final = re.compile(r"(\{\{[a-z_]{1,64}\}\})(?:,? (?:(?:and|or) )?\1)+")


class TooLong(ValueError):
    """A template with its parameters in place would exceed 4,000,000 characters."""


def derive_template(screened: str) -> str:
    """The collapsed text with its volatile literals masked, so that texts of one shape agree.

    Numbers, dates, quotations, URLs, addresses, identifiers, code, JSON and the placeholders of
    screened entities become ``{{kind}}``; a list of one kind becomes one placeholder. What is in
    ``{{…}}`` already stays. Deterministic, and linear in the text's length.
    """
    masked = mask(collapse(screened))
    if "}}, {{" in masked or "}} " in masked:
        return _REPEATED.sub(r"\1", masked)
    return masked


def template_id(template: str) -> str:
    """``tpl_`` and the first 32 hex digits of the SHA-256 of the collapsed template."""
    return "tpl_" + hashlib.sha256(collapse(template).encode()).hexdigest()[:32]


def fill(template: str, parameters: Mapping[str, object]) -> str:
    """The template with each ``{{name}}`` that has a parameter replaced by it, in one pass.

    Strings stand as they are, null as nothing, everything else as compact JSON. A name without a
    parameter stays. Raises :class:`TooLong`.
    """
    pieces: list[str] = []
    length = 0
    for piece in _filled(template, parameters):
        length += len(piece)
        if length > MAX_FILLED:
            raise TooLong
        pieces.append(piece)
    return "".join(pieces)


def reproduces(template: str, parameters: Mapping[str, object], text: str) -> bool:
    """Whether the filled template is the text, whitespace apart."""
    try:
        return collapse(fill(template, parameters)) == collapse(text)
    except TooLong:
        return False


def _filled(template: str, parameters: Mapping[str, object]) -> Iterator[str]:
    shown: dict[str, str] = {}
    copied = 0
    for found in _PARAMETER.finditer(template):
        name = found.group(1)
        if name not in parameters:
            continue
        if name not in shown:
            shown[name] = _shown(parameters[name])
        yield template[copied : found.start()]
        yield shown[name]
        copied = found.end()
    yield template[copied:]


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
