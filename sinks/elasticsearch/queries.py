"""Searching the documents."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from schemas.items import Kind
from schemas.queries import Hit
from sinks.common.stamps import GREATEST, LEAST, from_json, record_id
from sinks.common.words import Term, literal_snippet, parse
from sinks.elasticsearch.client import Client
from sinks.elasticsearch.layout import Names, characters
from sinks.elasticsearch.settings import ElasticsearchSettings

MOST_TERMS = 64
"""Words of a search beyond these are ignored."""
WINDOW = 10_000
"""Hits beyond these are not answered."""
_ANALYZED = 999_999
_SHOWN = ("kind", "id", "time", "tenant", "user", "session", "model", "fields")
_CHARACTERS_A_TOKEN = 6


class ElasticsearchQueries:
    """Implements :class:`schemas.queries.SearchQueries`.

    A word is also found by its English stem and by its synonyms; phrases, prefixes and unwanted
    words are taken as typed. What was written is found within a second.
    """

    def __init__(self, client: Client, settings: ElasticsearchSettings) -> None:
        self._client = client
        self._names = Names(settings.prefix)

    def search(
        self,
        words: str,
        limit: int = 10,
        *,
        offset: int = 0,
        tenant: str | None = None,
        model: str | None = None,
        session: str | None = None,
        user: str | None = None,
        kind: Kind | None = None,
        since: int | None = None,
        until: int | None = None,
        marks: tuple[str, str] = ("[", "]"),
        whole: bool = False,
        snippet_tokens: int = 24,
    ) -> list[Hit]:
        """The best hits first, equals newest first; never an error for what was typed."""
        asked = list(parse(words))[:MOST_TERMS]
        contains = [term.text for term in asked if term.literal and not term.unwanted]
        matched = any(not term.literal and not term.unwanted for term in asked)
        size = WINDOW - offset if limit < 0 else min(limit, WINDOW - offset)
        if size <= 0 or not (matched or contains):
            return []
        exact = {"tenant": tenant, "model": model, "session": session, "user": user, "kind": kind}
        filters: list[dict[str, Any]] = [
            {"term": {name: {"value": value}}} for name, value in exact.items() if value is not None
        ]
        bounds = {"gte": since, "lt": until}
        limits = {name: _int64(value) for name, value in bounds.items() if value is not None}
        if limits:
            filters.append({"range": {"time": limits}})
        text = whole or not matched
        body: dict[str, Any] = {
            "query": query(asked, filters),
            "from": offset,
            "size": size,
            "_source": [*_SHOWN, "text"] if text else list(_SHOWN),
            "sort": [{"_score": "desc"}, {"time": "desc"}, {"id": "asc"}],
            "track_total_hits": False,
        }
        # Marks that no text holds: the asked ones may stand in it.
        own = tuple(f"<{uuid.uuid4().hex}>" for _ in marks)
        if matched:
            body["highlight"] = _highlight(own, whole, snippet_tokens)
        hits = self._client.search(self._names.events, body, self._client.deadline())
        return [
            _hit(
                hit["_source"],
                float(hit["_score"] or 0.0),
                _marked(hit, own, marks, whole)
                if matched
                else literal_snippet(hit["_source"]["text"], contains, marks, whole),
            )
            for hit in hits
        ]


def query(asked: Sequence[Term], filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The query of these terms: values only, nothing that was typed is syntax."""
    must: list[dict[str, Any]] = []
    must_not: list[dict[str, Any]] = []
    narrowed = list(filters)
    for term in asked:
        if term.literal:
            (must_not if term.unwanted else narrowed).append(_literally(term))
        elif term.unwanted:
            must_not.append(_as_typed(term))
        else:
            must.append(_as_typed(term) if _strict(term) else _by_stem(term))
    return {"bool": {"must": must, "filter": narrowed, "must_not": must_not}}


def _strict(term: Term) -> bool:
    return term.prefix or " " in term.text


def _as_typed(term: Term) -> dict[str, Any]:
    if not term.prefix:
        return {"match_phrase": {"text": {"query": term.text}}}
    if term.text.isalnum():
        return {"match_bool_prefix": {"text": {"query": term.text}}}
    return {"match_phrase_prefix": {"text": {"query": term.text, "max_expansions": 1_000}}}


def _by_stem(term: Term) -> dict[str, Any]:
    stem = {"match_phrase": {"text.english": {"query": term.text}}}
    return {"dis_max": {"queries": [_as_typed(term), stem]}}


def _literally(term: Term) -> dict[str, Any]:
    return {"match_phrase": {"characters": {"query": characters(term.text)}}}


def _highlight(marks: Sequence[str], whole: bool, tokens: int) -> dict[str, Any]:
    field: dict[str, Any] = {
        "type": "unified",
        "matched_fields": ["text", "text.english"],
        "number_of_fragments": 0 if whole else 1,
        "no_match_size": 0 if whole else _size(tokens),
    }
    if not whole:
        field |= {"fragment_size": _size(tokens), "order": "score"}
    return {
        "pre_tags": [marks[0]],
        "post_tags": [marks[1]],
        "max_analyzed_offset": _ANALYZED,
        "fields": {"text": field},
    }


def _size(tokens: int) -> int:
    return min(max(tokens, 1), 64) * _CHARACTERS_A_TOKEN


def _marked(hit: dict[str, Any], own: Sequence[str], marks: tuple[str, str], whole: bool) -> str:
    """The snippet with the asked marks. A text longer than what is analysed stays unmarked."""
    shown: str = hit.get("highlight", {}).get("text", [""])[0]
    if whole:
        text: str = hit["_source"]["text"]
        if shown.replace(own[0], "").replace(own[1], "") != text:
            return text
    return shown.replace(own[0], marks[0]).replace(own[1], marks[1])


def _hit(source: dict[str, Any], score: float, snippet: str) -> Hit:
    fields = from_json(source["fields"])
    session, model = fields.get("session"), fields.get("model")
    return Hit(
        record_id(source["kind"], source["id"]),
        score,
        source["time"],
        source["tenant"],
        source["user"],
        session if isinstance(session, str) else None,
        model if isinstance(model, str) else None,
        snippet,
        fields,
    )


def _int64(value: int) -> int:
    return min(max(value, LEAST), GREATEST)
