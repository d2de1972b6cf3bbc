from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from schemas.chunk import Chunk
from schemas.items import (
    WITHHELD,
    Embedded,
    ModelRef,
    Screened,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedSession,
    ScreenedText,
    SessionRef,
    TemplateRef,
)
from schemas.log import Origin, Original, Partition
from schemas.ports import Unavailable
from stages.embed import EmbedStage, LayeredCache, MemoryCache
from stages.embed.errors import Incomplete

PARTITION = Partition("llm.prompts.v1", 0)
SESSION = SessionRef(Screened("s"), Screened("u"))


class Letters:
    """An embedder whose vectors tell which text they belong to."""

    dimensions = 2

    def __init__(self, model: str = "letters@1") -> None:
        self.model = model
        self.asked: list[str] = []
        self.down = False

    def embed(self, texts: Sequence[str], /) -> list[bytes]:
        if self.down:
            raise Unavailable("embedder", "timeout")
        self.asked += texts
        return [hashlib.sha256(text.encode()).digest()[:8] for text in texts]


def screened(text: str) -> ScreenedText:
    return ScreenedText(
        Screened(text), hashlib.sha256(" ".join(text.split()).encode()).hexdigest(), len(text)
    )


def prompt(text: str, number: int = 0, withheld: bool = False) -> Embedded:
    return Embedded(
        ScreenedPrompt(
            id=f"{number:032x}",
            time=0,
            origin=Origin("llm.prompts.v1", 0, number, 0),
            text=screened(text),
            session=SESSION,
            model=ModelRef(Screened("m")),
            template=TemplateRef("tpl_0", Screened("t"), "derived"),
            withheld=withheld,
        ),
        original=Original(None, (), b"{}"),
    )


def response(text: str | None) -> Embedded:
    return Embedded(
        ScreenedResponse(
            id="r",
            time=0,
            origin=Origin("llm.responses.v1", 0, 0, 0),
            prompt_id="p",
            text=None if text is None else screened(text),
        )
    )


def session() -> Embedded:
    return Embedded(
        ScreenedSession(
            id="s",
            time=0,
            origin=Origin("llm.sessions.v1", 0, 0, 0),
            session=SESSION,
            status="active",
        )
    )


def run(stage: EmbedStage, *items: Embedded) -> list[Embedded]:
    chunk = Chunk(PARTITION, items, log_time=7)
    outcome = stage(chunk)
    assert (outcome.passed.partition, outcome.passed.log_time) == (PARTITION, 7)
    assert outcome.rejected == ()
    return list(outcome.passed.items)


def test_prompts_and_responses_get_the_vector_of_their_text() -> None:
    embedder = Letters()
    given_items = [prompt("hello"), response("world"), session(), response(None)]
    items = run(EmbedStage(embedder, MemoryCache(10)), *given_items)
    assert [item.vector for item in items] == [*Letters().embed(["hello", "world"]), None, None]
    assert [item.vector_model for item in items] == ["letters@1", "letters@1", None, None]
    assert [item.event for item in items] == [item.event for item in given_items]
    assert items[0].original is given_items[0].original


def test_withheld_and_empty_texts_get_no_vector() -> None:
    embedder = Letters()
    items = [prompt(WITHHELD), prompt("secret", withheld=True), prompt(""), prompt(" \n ")]
    assert run(EmbedStage(embedder, MemoryCache(10)), *items) == items
    assert embedder.asked == []


def test_equal_texts_are_encoded_once_in_a_chunk_and_later() -> None:
    embedder = Letters()
    stage = EmbedStage(embedder, MemoryCache(10))
    first = run(stage, prompt("a b", 1), prompt("a  b", 2), response("a b"), prompt("c", 3))
    assert embedder.asked == ["a  b", "c"] or embedder.asked == ["a b", "c"]
    assert len({item.vector for item in first}) == 2
    again = run(stage, prompt("c", 4), prompt("d", 5))
    assert again[0].vector == first[3].vector
    assert embedder.asked[2:] == ["d"]
    assert (stage.encoded, stage.cached, stage.lacking) == (3, 1, 0)


def test_models_do_not_share_vectors() -> None:
    cache = MemoryCache(10)
    other = Letters("other@1")
    run(EmbedStage(Letters(), cache), prompt("a"))
    run(EmbedStage(other, cache), prompt("a"))
    assert other.asked == ["a"]


def test_off_passes_the_chunk_untouched() -> None:
    chunk = Chunk(PARTITION, [prompt("a")])
    assert EmbedStage(None, MemoryCache(0))(chunk).passed is chunk


def test_an_unavailable_embedder_leaves_cached_vectors_and_lets_the_rest_pass() -> None:
    embedder = Letters()
    stage = EmbedStage(embedder, MemoryCache(10))
    known = run(stage, prompt("known"))[0].vector
    embedder.down = True
    items = run(stage, prompt("known", 1), prompt("new", 2))
    assert [item.vector for item in items] == [known, None]
    assert [item.vector_model for item in items] == ["letters@1", None]
    assert stage.lacking == 1
    embedder.down = False
    assert run(stage, prompt("new", 3))[0].vector is not None


def test_a_cached_value_of_another_length_is_a_miss() -> None:
    embedder = Letters()
    cache = MemoryCache(10)
    run(EmbedStage(embedder, cache), prompt("a"))
    (key,) = cache._values
    cache.put([(key, b"torn")])
    assert run(EmbedStage(embedder, cache), prompt("a"))[0].vector == Letters().embed(["a"])[0]


def test_the_far_cache_answers_and_fills_the_near_one() -> None:
    near, far = MemoryCache(10), MemoryCache(10)
    far.put([(b"k", b"far")])
    layered = LayeredCache(near, far)
    assert layered.get([b"k", b"x"]) == [b"far", None]
    assert near.get([b"k"]) == [b"far"]
    layered.put([(b"x", b"both")])
    assert near.get([b"x"]) == far.get([b"x"]) == [b"both"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), st.integers(0, 5))
def test_the_memory_cache_keeps_the_last_used_entries(
    steps: list[tuple[bool, int]], entries: int
) -> None:
    cache = MemoryCache(entries)
    recent: list[int] = []
    for put, number in steps:
        key = bytes([number])
        if put:
            cache.put([(key, key)])
        else:
            assert cache.get([key]) == [key if number in recent else None]
        if put or number in recent:
            recent = [*(n for n in recent if n != number), number]
            recent = recent[-entries:] if entries else []
        assert len(cache) == len(recent)


def test_those_that_an_incomplete_answer_has_are_used_and_kept() -> None:
    embedder = Letters()
    good = embedder.embed(["one"])[0]
    embedder.asked.clear()

    class Half(Letters):
        def embed(self, texts: Sequence[str], /) -> list[bytes]:
            self.asked += texts
            found = [good if text == "one" else None for text in texts]
            raise Incomplete("embedder", "refused", found)

    half = Half()
    stage = EmbedStage(half, MemoryCache(10))
    for asked in (["one", "two"], ["one", "two", "two"]):
        chunk = Chunk(PARTITION, [prompt("one"), prompt("two", 1)])
        found = stage(chunk).passed.items
        assert [item.vector for item in found] == [good, None]
        assert half.asked == asked
    assert (stage.encoded, stage.lacking) == (1, 2)
