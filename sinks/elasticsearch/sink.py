"""The full-text store: a document per record, of external version, in the index of its day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from schemas.ports import ERASED, WRITTEN, Result, Stored, Unavailable
from schemas.records import DocumentRecord, RecordId, Store
from sinks.common.deadline import Deadline
from sinks.common.stamps import Refusal, is_identity
from sinks.elasticsearch.client import TOO_LARGE, Client, code_of_status
from sinks.elasticsearch.documents import (
    Entry,
    deletion,
    document_id,
    entry,
    stored,
    tombstone,
)
from sinks.elasticsearch.layout import Names
from sinks.elasticsearch.settings import ElasticsearchSettings

_BAD_ID = Result("rejected", "bad_id")
_BULK_BYTES = 8 << 20
_LOOKUP = 1_000
_CONFLICT = 409
_UNPARSABLE = frozenset(
    {"document_parsing_exception", "mapper_parsing_exception", "strict_dynamic_mapping_exception"}
)
"""Types of error that concern one document and will come again."""


class ElasticsearchSink:
    """Implements :class:`schemas.ports.Sink`.

    The server compares versions: a document of a lower version meets a conflict, which counts as
    written. What is erased has a document in the index of tombstones. That index is asked before
    a write, so that erased text is not sent, and again after it: of an erasure and a write at the
    same time at least one sees the other, and removes the document. The removal carries a version
    above all others, so that a request which comes late meets a conflict too.
    """

    store: ClassVar[Store] = "search"

    def __init__(self, client: Client, settings: ElasticsearchSettings) -> None:
        self._client = client
        self._settings = settings
        self._names = Names(settings.prefix)

    def write(self, records: Sequence[DocumentRecord], /) -> Sequence[Result]:
        results: list[Result] = [WRITTEN] * len(records)
        good: list[tuple[int, Entry]] = []
        for index, record in enumerate(records):
            try:
                good.append((index, entry(record, self._names, self._settings.max_record_bytes)))
            except Refusal as refusal:
                results[index] = Result("rejected", refusal.code)
        parts: list[Sequence[tuple[int, Entry]]] = list(self._parts(good))
        while parts:
            part = parts.pop(0)
            try:
                outcomes = self._admit([made for _, made in part], self._client.deadline())
            except Unavailable as error:
                if error.code == TOO_LARGE and len(part) > 1:
                    half = len(part) // 2
                    parts[:0] = [part[:half], part[half:]]
                    continue
                if error.code == TOO_LARGE:
                    outcomes = [Result("rejected", TOO_LARGE)]
                else:
                    # The other parts are not tried: each could wait as long again.
                    part = [item for each in (part, *parts) for item in each]
                    outcomes = [Result("unavailable", error.code, error.retry_after)] * len(part)
                    parts.clear()
            for (index, _), outcome in zip(part, outcomes, strict=True):
                results[index] = outcome
        return results

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        """What is there, whatever searches can find yet. Raises Unavailable."""
        known = list(dict.fromkeys(i for i in ids if is_identity(i.kind, i.id)))
        found: dict[RecordId, Stored] = {}
        for start in range(0, len(known), _LOOKUP):
            deadline = self._client.deadline()
            places = self._places(known[start : start + _LOOKUP], deadline)
            for group in _by_size(places):
                for source in self._client.sources(group, self._client.deadline()):
                    held = stored(source)
                    before = found.get(held.stamp.record_id)
                    if before is None or before.stamp.version < held.stamp.version:
                        found[held.stamp.record_id] = held
        return found

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        """Erases records. Their text leaves the disk when Elasticsearch merges the segments: see
        :meth:`sinks.elasticsearch.store.ElasticsearchStore.expunge`."""
        known = list(dict.fromkeys(i for i in ids if is_identity(i.kind, i.id)))
        outcome = ERASED
        try:
            for start in range(0, len(known), _LOOKUP):
                self._erase(known[start : start + _LOOKUP])
        except Unavailable as error:
            outcome = Result("unavailable", error.code, error.retry_after)
        return [outcome if is_identity(i.kind, i.id) else _BAD_ID for i in ids]

    def erased(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """See :meth:`schemas.ports.Tombstones.erased`."""
        wanted = {document_id(i): i for i in ids if is_identity(i.kind, i.id)}
        names = list(wanted)
        found: set[RecordId] = set()
        for start in range(0, len(names), _LOOKUP):
            part = names[start : start + _LOOKUP]
            there = self._client.existing(self._names.tombstones, part, self._client.deadline())
            found.update(wanted[name] for name in there)
        return frozenset(found)

    def count(self) -> int:
        """How many records it holds. Raises Unavailable."""
        deadline = self._client.deadline()
        self._client.refresh(self._names.events, deadline)
        return self._client.count(self._names.events, deadline)

    def close(self) -> None:
        """Later calls find the store unavailable."""
        self._client.close()

    def _parts(self, good: Sequence[tuple[int, Entry]]) -> Iterator[list[tuple[int, Entry]]]:
        part: list[tuple[int, Entry]] = []
        size = 0
        for item in good:
            if part and (
                len(part) == self._settings.batch_documents
                or size + len(item[1].source) > _BULK_BYTES
            ):
                yield part
                part, size = [], 0
            part.append(item)
            size += len(item[1].source)
        if part:
            yield part

    def _admit(self, entries: Sequence[Entry], deadline: Deadline) -> list[Result]:
        """Writes what is not erased; removes what was or is erased meanwhile."""
        erased = self._erased(entries, deadline)
        sent = [made for made in entries if made.id not in erased]
        results: dict[int, Result] = {}
        if sent:
            lines = [line for made in sent for line in (made.action, made.source)]
            answers = self._client.bulk(lines, deadline)
            results = {
                id(made): _result(*answer) for made, answer in zip(sent, answers, strict=True)
            }
            erased |= self._erased(sent, deadline)
        gone = dict.fromkeys((made.id, made.place) for made in entries if made.id in erased)
        if gone:
            self._remove(list(gone), deadline)
        return [ERASED if made.id in erased else results[id(made)] for made in entries]

    def _erased(self, entries: Sequence[Entry], deadline: Deadline) -> set[RecordId]:
        ids = {document_id(made.id): made.id for made in entries}
        found = self._client.existing(self._names.tombstones, list(ids), deadline)
        return {ids[name] for name in found}

    def _erase(self, ids: Sequence[RecordId]) -> None:
        deadline = self._client.deadline()
        # A read first: a server that does not answer is not sent what it might do much later.
        self._client.existing(
            self._names.tombstones, [document_id(identity) for identity in ids], deadline
        )
        lines = [line for i in ids for line in tombstone(i, self._names.tombstones)]
        _all(self._client.bulk(lines, deadline))
        places = self._places(ids, deadline)
        if places:
            self._remove([(identity, index) for identity, index, _ in places], deadline)

    def _remove(self, places: Sequence[tuple[RecordId, str]], deadline: Deadline) -> None:
        _all(self._client.bulk([deletion(i, index) for i, index in places], deadline))

    def _places(
        self, ids: Sequence[RecordId], deadline: Deadline
    ) -> list[tuple[RecordId, str, int]]:
        """Where documents of these ids are, and their size in characters."""
        wanted = {document_id(identity): identity for identity in ids}
        self._client.refresh(self._names.events, deadline)
        body: dict[str, Any] = {
            "query": {"ids": {"values": list(wanted)}},
            "size": 10 * _LOOKUP,
            "_source": False,
            "docvalue_fields": ["bytes"],
            "sort": ["_doc"],
        }
        hits = self._client.search(self._names.events, body, deadline)
        return [(wanted[hit["_id"]], hit["_index"], hit["fields"]["bytes"][0]) for hit in hits]


def _result(status: int, error: str) -> Result:
    if status < 300 or status == _CONFLICT:
        return WRITTEN
    if error in _UNPARSABLE:
        return Result("rejected", "unparsable")
    return Result("unavailable", code_of_status(status))


def _all(answers: Sequence[tuple[int, str]]) -> None:
    """Raises Unavailable unless every operation is done; what was not there is gone too."""
    for status, _ in answers:
        if status >= 300 and status not in (404, _CONFLICT):
            raise Unavailable(ElasticsearchSink.store, code_of_status(status))


def _by_size(places: Sequence[tuple[RecordId, str, int]]) -> Iterator[list[tuple[str, str]]]:
    """Index and document id, in groups whose answers are of a bearable size."""
    group: list[tuple[str, str]] = []
    size = 0
    for identity, index, characters in places:
        if group and size + characters > _BULK_BYTES:
            yield group
            group, size = [], 0
        group.append((index, document_id(identity)))
        size += characters
    if group:
        yield group
