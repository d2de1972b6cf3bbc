"""The many names of one model: with a provider's prefix, dated, as an ARN, as a fine-tune."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

PREFIXES: Final = (
    re.compile(r"arn:[^/]*/"),
    re.compile(r"projects/[^/]+/locations/[^/]+/(?=publishers/|models/|endpoints/)"),
    re.compile(r"publishers/[^/]+/models/"),
    re.compile(r"models/"),
)
"""Paths before a name: Bedrock's ARNs, Vertex's resource names, Gemini's ``models/``."""

SUFFIXES: Final = (
    re.compile(r"(?<=.)@[^/@]*$"),
    re.compile(r":\d+k$"),
    re.compile(r"(?<=[^-@:])[-@:](?:20\d\d-[01]\d-[0-3]\d|20\d\d[01]\d[0-3]\d)$"),
    re.compile(r"(?<=[^-:])[-:]latest$"),
)
"""What may follow a name: a version, a context size, a date, ``latest``."""

_FINE_TUNE: Final = re.compile(r"(ft:[^:]+):.*$")


def provider_name(provider: str) -> str:
    """The form in which providers are compared: lower case, words joined by ``_``."""
    return re.sub(r"[^a-z0-9]+", "_", provider.lower()).strip("_")


def variants(
    name: str, known_provider: Callable[[str], str | None]
) -> Iterator[tuple[str, str | None]]:
    """The names to try for a model id, most exact first, each with the provider it names (or None).

    Comparison is without regard to case. Prefixes go before suffixes; a date or version goes last,
    so that a dated entry of its own wins over the undated one.
    """
    name = name.strip().lower()
    provider: str | None = None
    yield name, None
    while (shorter := _without_prefix(name, known_provider)) is not None:
        name, named = shorter
        provider = named or provider
        yield name, provider
    tuned = _FINE_TUNE.sub(r"\1", name)
    if tuned != name:
        name = tuned
        yield name, provider
    for suffix in SUFFIXES:
        shortened = suffix.sub("", name)
        if shortened != name:
            name = shortened
            yield name, provider


def _without_prefix(
    name: str, known_provider: Callable[[str], str | None]
) -> tuple[str, str | None] | None:
    for prefix in PREFIXES:
        found = prefix.match(name)
        if found is not None and found.end() < len(name):
            return name[found.end() :], None
    head, slash, rest = name.partition("/")
    named = known_provider(head) if slash and rest else None
    return (rest, named) if named is not None else None
