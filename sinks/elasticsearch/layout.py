"""Which indices there are, how they are mapped and analysed: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Any

from sinks.elasticsearch.settings import ElasticsearchSettings

FORMAT = 1
"""Version of the documents and mappings; kept in the templates' ``_meta``."""

KEYWORDS = (
    "session",
    "model",
    "provider",
    "purpose",
    "status",
    "language",
    "state",
    "application",
    "organisation",
    "finish_reason",
    "template",
    "prompt",
    "tags",
    "entities",
)
"""Fields of a record that can be filtered by, beside those of its stamp."""
NUMBERS = ("tokens", "cost_pico_usd")

_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_FIRST, _LAST = (date(2000, 1, 1) - _EPOCH).days, (date(2099, 12, 31) - _EPOCH).days
_STAMP_KEYWORDS = ("kind", "id", "tenant", "user", "topic", "pipeline", "sha256")
_STAMP_NUMBERS = ("version", "time", "partition", "offset", "log_timestamp", "bytes")
# Four bytes of UTF-8 a character, and Lucene's longest term is 32,766 bytes.
_KEYWORD = {"type": "keyword", "ignore_above": 8_191}

_JOINTS = (
    "_\u203f\u2040\u2054\ufe33\ufe34\ufe4d\ufe4e\ufe4f\uff3f"
    ".:,;'\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
    "\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"
)
"""Between letters or digits these do not end a word for the tokenizer: ``numpy.array`` would be
found as a whole only. In SQLite they end it, and so they do here."""


class Names:
    """The names of indices and templates under a prefix.

    An event's index is that of its UTC day. The day is a function of the event, and an id has one
    content (the claims see to it), so all versions of an id meet in one index: only there does its
    external version protect it. Days that no log of today can hold share one index, so that a
    clock gone wrong cannot make an index for each day of the calendar.
    """

    def __init__(self, prefix: str) -> None:
        self.template = f"{prefix}events"
        self.alias = f"{prefix}events"
        self.events = f"{prefix}events-*"
        self.tombstones = f"{prefix}tombstones"
        self._day = lru_cache(4_096)(lambda day: f"{prefix}events-{_day(day)}")

    def index(self, time: int) -> str:
        """The index of an event time in µs."""
        return self._day(time // _DAY_US)


def _day(day: int) -> str:
    if not _FIRST <= day <= _LAST:
        return "other"
    return (_EPOCH + timedelta(days=day)).strftime("%Y.%m.%d")


def events_template(settings: ElasticsearchSettings) -> dict[str, Any]:
    """The template of the events' indices.

    Only what is filtered by or searched is mapped; ``fields`` holds all of a record's fields as
    one JSON text, so that values of any type read back and none can contradict the mapping.
    ``characters`` finds texts of scripts without spaces by any part (see :func:`characters`).
    """
    names = Names(settings.prefix)
    properties: dict[str, Any] = dict.fromkeys((*_STAMP_KEYWORDS, *KEYWORDS), _KEYWORD) | {
        name: {"type": "long"} for name in (*_STAMP_NUMBERS, *NUMBERS)
    }
    properties |= {
        "@timestamp": {"type": "date", "format": "epoch_millis", "ignore_malformed": True},
        "fields": {"type": "keyword", "index": False, "doc_values": False},
        "text": {
            "type": "text",
            "analyzer": "memory_plain",
            "fields": {
                "english": {
                    "type": "text",
                    "analyzer": "memory_english",
                    "search_analyzer": "memory_english_search",
                }
            },
        },
        "characters": {"type": "text", "analyzer": "standard", "norms": False},
    }
    mappings = {
        "dynamic": False,
        "_meta": {"format": FORMAT},
        "_source": {"excludes": ["characters"]},
        "properties": properties,
    }
    index = _index_settings(settings) | {
        "refresh_interval": "1s",
        "gc_deletes": "1h",
        "merge": {"policy": {"expunge_deletes_allowed": 0}},
    }
    template = {
        "settings": {"index": index, "analysis": _analysis()},
        "mappings": mappings,
        "aliases": {names.alias: {}},
    }
    digest = sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
    return {
        "index_patterns": [names.events],
        "priority": 500,
        "version": FORMAT,
        "_meta": {"format": FORMAT, "digest": digest},
        "template": template,
    }


def tombstones_index(settings: ElasticsearchSettings) -> dict[str, Any]:
    """Settings and mappings of the index of what was erased."""
    return {
        "settings": {"index": _index_settings(settings)},
        "mappings": {
            "dynamic": False,
            "_meta": {"format": FORMAT},
            "properties": {"kind": _KEYWORD, "id": _KEYWORD},
        },
    }


def _index_settings(settings: ElasticsearchSettings) -> dict[str, Any]:
    return {
        "number_of_shards": settings.shards,
        "number_of_replicas": settings.replicas,
        "translog": {"durability": "request"},
    }


def _analysis() -> dict[str, Any]:
    plain = ["lowercase", "asciifolding"]
    apart = [f"\\u{ord(character):04x} => \\u0020" for character in _JOINTS]
    return {
        "char_filter": {"memory_joints": {"type": "mapping", "mappings": apart}},
        "filter": {
            "memory_synonyms": {
                "type": "synonym",
                "synonyms": list(_synonyms()),
                "lenient": True,
            },
            "memory_stemmer": {"type": "stemmer", "language": "english"},
        },
        "analyzer": {
            "memory_plain": _analyzer(plain),
            "memory_english": _analyzer([*plain, "memory_stemmer"]),
            "memory_english_search": _analyzer([*plain, "memory_synonyms", "memory_stemmer"]),
        },
    }


def _analyzer(filters: list[str]) -> dict[str, Any]:
    return {
        "type": "custom",
        "char_filter": ["memory_joints"],
        "tokenizer": "standard",
        "filter": filters,
    }


def _synonyms() -> Iterator[str]:
    text = resources.files(__package__).joinpath("synonyms.txt").read_text("utf-8")
    return (line for line in text.splitlines() if line and not line.startswith("#"))


def characters(text: str) -> str:
    """A text as its code points in hexadecimal, a word each: any part of it is then a phrase.

    >>> characters("日本!")
    '65e5 672c 21'
    """
    return " ".join([f"{ord(character):x}" for character in text])
