"""The same words find the same documents as in SQLite, and some more by stem and synonym."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.ports import WRITTEN
from schemas.records import DocumentRecord
from sinks.elasticsearch.store import ElasticsearchStore
from tests.conformance.records import stamp
from tests.sinks.library import LIBRARY, WORDS, document


def ids(store: ElasticsearchStore, words: str, **filters: Any) -> set[str]:
    return {hit.id.id for hit in store.queries.search(words, **filters)}


def numbers(*found: int) -> set[str]:
    return {stamp(n).id for n in found}


def keep(store: ElasticsearchStore, *documents: DocumentRecord) -> None:
    """Writes, and lets searches find it: counting refreshes."""
    assert list(store.sink.write(documents)) == [WRITTEN] * len(documents)
    store.sink.count()


@pytest.fixture
def library(store: ElasticsearchStore) -> ElasticsearchStore:
    keep(store, *LIBRARY)
    return store


def test_words_find(library: ElasticsearchStore) -> None:
    for words, found in WORDS:
        assert ids(library, words) == numbers(*found), words


def test_stems_and_synonyms_find_too(store: ElasticsearchStore) -> None:
    keep(
        store,
        document(1, "Deploying containers on kubernetes"),
        document(2, "JavaScript errors"),
    )
    assert ids(store, "deployed container") == numbers(1)
    assert ids(store, "k8s") == numbers(1)
    assert ids(store, "js exception") == numbers(2)
    assert ids(store, '"deployed containers"') == set()
    assert ids(store, "deployed*") == set()
    assert ids(store, "errors -javascript") == set()
    (hit,) = store.queries.search("k8s deploys", whole=True)
    assert hit.snippet == "[Deploying] containers on [kubernetes]"


def test_scripts_without_spaces_are_found_by_any_part(store: ElasticsearchStore) -> None:
    keep(
        store,
        document(1, "データベースの設定を変更する"),
        document(2, "ฉันต้องการเปลี่ยนรหัสผ่าน"),
        document(3, "設 定"),
    )
    assert ids(store, "ベース") == numbers(1)
    assert ids(store, "設定") == numbers(1)
    assert ids(store, "รหัส") == numbers(2)
    assert ids(store, "設定 -変更") == set()


def test_ranking_marks_filters_and_pages(library: ElasticsearchStore) -> None:
    search = library.queries.search
    best = search("list")
    assert [hit.id.id for hit in best] == [stamp(2).id, stamp(1).id]
    assert best[0].score > best[1].score > 0
    assert best[1].snippet == "Sorting a [list] of files in Python"
    assert best[0].fields == {"session": "s", "model": "m"}
    assert (best[0].tenant, best[0].session, best[0].model) == ("x", "s", "m")
    (whole,) = search("conf*", marks=("<b>", "</b>"), whole=True)
    assert whole.snippet == "Café conversation über <b>Configuration</b>"
    (literal,) = search("検索", marks=("<", ">"))
    assert (literal.snippet, literal.score) == ("日本語の文章を<検索>する", 0.0)
    assert [hit.id.id for hit in search("list", 1, offset=1)] == [stamp(1).id]
    assert search("list", 0) == search("list", 5, offset=20_000) == []
    assert len(search("list", -1)) == 2
    assert ids(library, "list", tenant="x") == numbers(2)
    assert ids(library, "café", kind="prompt") == set()
    assert ids(library, "café", kind="response") == numbers(3)
    assert ids(library, "team", model="gpt") == numbers(5)
    assert ids(library, "検索", session="s") == set()
    assert ids(library, "list", since=stamp(2).time, until=stamp(2).time) == set()
    assert ids(library, "list", since=stamp(2).time, until=stamp(3).time) == numbers(2)
    assert ids(library, "list", since=-(1 << 80), until=1 << 80) == numbers(1, 2)
    assert ids(library, "list", user="user-1") == numbers(1)


def test_snippets_show_the_best_part_and_never_mistake_a_mark(store: ElasticsearchStore) -> None:
    text = "[x] start " + "filler words here " * 50 + "the needle [y] stands here " + "end " * 80
    keep(store, document(1, text), document(2, "x" * 1_200_000 + " needle"))
    hits = {hit.id.id: hit for hit in store.queries.search("needle", snippet_tokens=10)}
    snippet = hits[stamp(1).id].snippet
    assert "the [needle]" in snippet
    assert len(snippet) < 200
    (hit,) = store.queries.search("start", whole=True)
    assert hit.snippet == text.replace("start", "[start]")
    whole = {hit.id.id: hit for hit in store.queries.search("needle", whole=True)}
    assert len(whole[stamp(2).id].snippet) >= 1_200_000


def test_hits_of_one_score_come_newest_first(store: ElasticsearchStore) -> None:
    day = 86_400_000_000
    keep(store, *(document(n, "same", time=stamp(n).time + n % 3 * day) for n in range(9)))
    hits = store.queries.search("same", 9)
    times = [hit.time for hit in hits]
    assert times == sorted(times, reverse=True)
    assert len({hit.score for hit in hits}) == 1
    assert [h.id for h in store.queries.search("same", 4, offset=4)] == [h.id for h in hits[4:8]]


def test_a_rewrite_changes_what_is_found(store: ElasticsearchStore) -> None:
    first = document(1, "alpha beta")
    keep(store, first)
    keep(store, msgspec.structs.replace(first, fields={"session": "later"}))
    assert [hit.session for hit in store.queries.search("alpha")] == ["later"]
    keep(store, document(1, "gamma", version=2))
    assert ids(store, "alpha") == set()
    assert ids(store, "gamma") == numbers(1)
    store.sink.delete([first.stamp.record_id])
    store.sink.count()
    assert ids(store, "gamma") == set()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(words=st.text(st.characters() | st.sampled_from('"*-()^:+{}\0 ANDORT本'), max_size=30))
def test_nothing_typed_is_an_error(words: str, library: ElasticsearchStore) -> None:
    assert len(library.queries.search(words)) <= len(LIBRARY)


@pytest.mark.parametrize("words", ["word " * 3_000, "x" * 100_000, "本" * 3_000, "a" * 300 + "*"])
def test_much_typed_is_no_error(words: str, library: ElasticsearchStore) -> None:
    assert library.queries.search(words) == []


def test_searches_need_no_refresh_of_ours(
    store: ElasticsearchStore, server: Elasticsearch, opened: Callable[..., ElasticsearchStore]
) -> None:
    """What was written is found soon, by the index's own interval."""
    index = store.sink._names.index(stamp(1).time)
    assert list(store.sink.write([document(1, "soon")])) == [WRITTEN]
    interval = server.indices.get_settings(index=index)[index]["settings"]["index"]
    assert interval["refresh_interval"] == "1s"
    while not ids(store, "soon"):
        pass
