"""Embedding services: requests, retries, limits, costs, and answers of no use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from schemas.failures import UserError
from schemas.ports import Price, Unavailable
from stages.embed import EmbedSettings, open_embedder
from stages.embed.errors import Incomplete
from stages.embed.providers import openai as openai_api
from stages.embed.providers.cohere import Cohere
from stages.embed.providers.openai import OpenAi, cut
from stages.embed.providers.remote import SECONDS, SPLITS, RemoteEmbedder
from stages.text.encodings import counter
from tests.awaiting import until
from tests.stages.embed.services import Service, cohere, openai, unit, values

KEY = "sk-test-51"
PRICE = Price("list", "2026-01-01", 20_000, 0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Set:
    """A stand-in of a service and an embedder that uses it."""

    def __init__(self, provider: str, **more: Any) -> None:
        self.service = Service({"openai": openai, "cohere": cohere}[provider])
        self.clock = Clock()
        path = {"openai": "/v1", "cohere": ""}[provider]
        values = {"api_key": SecretStr(KEY), **more}
        url = f"http://127.0.0.1:{self.service.port}{path}"
        settings = EmbedSettings(provider=provider, base_url=url, **values)
        api: Any = {"openai": OpenAi, "cohere": Cohere}[provider](settings)
        self.embedder = RemoteEmbedder(
            api, settings, "", lambda *_: PRICE, wait=self.clock.wait, clock=self.clock
        )

    def close(self) -> None:
        self.embedder.close()
        self.service.close()


@pytest.fixture
def made() -> Iterator[Any]:
    sets: list[Set] = []

    def make(provider: str, **more: Any) -> Set:
        sets.append(Set(provider, **more))
        return sets[-1]

    yield make
    for one in sets:
        one.close()


TEXTS = [f"text number {n}" for n in range(200)]


@pytest.mark.parametrize(
    ("provider", "settings", "model", "dimensions", "requests"),
    [
        ("openai", {}, "openai/text-embedding-3-small:1536", 1536, 1),
        ("openai", {"dimensions": 384}, "openai/text-embedding-3-small:384", 384, 1),
        ("cohere", {}, "cohere/embed-v4.0:1536", 1536, 3),
        ("cohere", {"dimensions": 256}, "cohere/embed-v4.0:256", 256, 3),
    ],
)
def test_vectors_of_unit_length_in_order_and_what_they_cost(
    made: Any, provider: str, settings: Any, model: str, dimensions: int, requests: int
) -> None:
    world = made(provider, **settings)
    embedder = world.embedder
    assert (embedder.model, embedder.dimensions) == (model, dimensions)
    assert embedder.embed(TEXTS) == [unit(text, dimensions) for text in TEXTS]
    assert embedder.embed([]) == []
    assert len(world.service.requests) == requests
    assert embedder.usage() == {
        "requests": requests, "failures": 0, "texts": 200, "tokens": 600,
        "cost_pico_usd": 600 * 20_000, "unpriced_tokens": 0,
    }  # fmt: skip
    named = {"openai": "dimensions", "cohere": "output_dimension"}[provider]
    assert all(body.get(named) == settings.get("dimensions") for body in world.service.requests)
    assert world.service.headers[0]["authorization"] == f"Bearer {KEY}"


def test_whitespace_counts_once_and_a_query_is_told_from_a_document(made: Any) -> None:
    world = made("cohere")
    embedder = world.embedder
    assert embedder.embed(["a \n\t b"]) == embedder.embed(["a b"]) == [unit("a b", 1536)]
    assert embedder.embed_query("a  b") == unit("? a b", 1536)


def test_requests_keep_within_the_limits_of_texts_and_tokens(made: Any) -> None:
    world = made("openai")
    texts = [f"{n}" for n in range(2_049)]
    assert world.embedder.embed(texts) == [unit(text, 1536) for text in texts]
    assert sorted(len(body["input"]) for body in world.service.requests) == [1, 2_048]
    world.service.requests.clear()
    long = [f"{n} " + "word " * 7_900 for n in range(80)]
    world.embedder.embed(long)
    count = counter("cl100k_base")
    sums = [sum(map(count, body["input"])) for body in world.service.requests]
    assert len(sums) == 3
    assert max(sums) <= openai_api.MOST_TOKENS


@given(st.text(max_size=300), st.integers(1, 60))
def test_a_text_is_cut_to_its_first_tokens(text: str, tokens: int) -> None:
    count = counter("cl100k_base")
    found = cut(text, tokens, count)
    assert text.startswith(found)
    assert count(found) <= tokens
    assert found == text or count(text) > tokens
    assert cut(text, tokens, count) == found


def test_a_long_text_is_cut_before_it_is_sent(made: Any) -> None:
    world = made("openai")
    world.embedder.embed(["é " * 20_000])
    (body,) = world.service.requests
    assert 8_000 < counter("cl100k_base")(body["input"][0]) <= 8_191


RATE = (429, {"Retry-After": "2"}, {"error": {"message": "Rate limit reached", "type": "tokens"}})
DOWN = (500, {}, {"error": {"message": "The server had an error", "type": "server_error"}})


@pytest.mark.parametrize("provider", ["openai", "cohere"])
def test_what_passes_is_tried_again_with_pauses(made: Any, provider: str) -> None:
    world = made(provider)
    world.service.failures = [RATE, DOWN]
    assert world.embedder.embed(["a"]) == [unit("a", 1536)]
    first, second = world.clock.waits
    assert first == 2.0
    assert 0.8 <= second <= 1.2
    assert world.embedder.usage()["failures"] == 2


def test_retries_are_bounded_and_then_it_is_held_off(made: Any) -> None:
    world = made("openai")
    world.service.failures = [DOWN] * 10
    with pytest.raises(Unavailable) as caught:
        world.embedder.embed(["a secret text"])
    assert (caught.value.what, caught.value.code) == ("embedder", "http_500")
    assert "secret" not in str(caught.value)
    assert len(world.service.requests) == 3
    with pytest.raises(Unavailable):
        world.embedder.embed(["a"])
    assert len(world.service.requests) == 3
    world.service.failures = []
    world.clock.now += 10
    assert world.embedder.embed(["a"]) == [unit("a", 1536)]


def test_a_long_pause_is_not_waited_for_but_kept(made: Any) -> None:
    world = made("openai")
    world.service.failures = [(429, {"Retry-After": "60"}, {})]
    with pytest.raises(Unavailable) as caught:
        world.embedder.embed(["a"])
    assert caught.value.code == "rate_limited"
    assert world.clock.waits == []
    world.clock.now += 59
    with pytest.raises(Unavailable):
        world.embedder.embed(["a"])
    assert len(world.service.requests) == 1
    world.clock.now += 2
    assert world.embedder.embed(["a"])


def test_a_refused_text_goes_without_and_the_others_do_not(made: Any) -> None:
    world = made("cohere")
    world.service.refuses = lambda texts: "text number 77" in texts
    with pytest.raises(Incomplete) as caught:
        world.embedder.embed(TEXTS)
    found = caught.value.vectors
    assert [n for n, vector in enumerate(found) if vector is None] == [77]
    assert all(v == unit(t, 1536) for v, t in zip(found, TEXTS, strict=True) if v is not None)
    with pytest.raises(Unavailable) as alone:
        world.embedder.embed(["text number 77"])
    assert not isinstance(alone.value, Incomplete)
    assert "77" not in str(alone.value)


def test_a_service_that_refuses_everything_is_not_asked_for_ever(made: Any) -> None:
    world = made("openai")
    world.service.refuses = lambda _: True
    with pytest.raises(Unavailable):
        world.embedder.embed([f"{n}" for n in range(2_000)])
    assert len(world.service.requests) <= 2 * SPLITS + 4


def test_some_requests_fail_and_the_answers_of_the_others_count(made: Any) -> None:
    world = made("cohere", retries=0)
    answered = threading.Semaphore(0)

    def last_one_down(path: str, headers: dict[str, str], body: Any) -> Any:
        if TEXTS[-1] not in body["texts"]:
            answered.release()
            return cohere(path, headers, body)
        assert answered.acquire(timeout=20)
        assert answered.acquire(timeout=20)
        return DOWN

    world.service.api = last_one_down
    with pytest.raises(Incomplete) as caught:
        world.embedder.embed(TEXTS)
    found = caught.value.vectors
    assert found == [unit(text, 1536) for text in TEXTS[:192]] + [None] * 8


def test_a_service_that_hangs_times_out(made: Any) -> None:
    world = made("openai", retries=0, timeout_seconds=0.2)
    world.service.hang.clear()
    with pytest.raises(Unavailable) as caught:
        world.embedder.embed(["a"])
    assert caught.value.code == "timeout"


def test_a_service_that_hangs_is_tried_briefly_and_once_until_it_answers(made: Any) -> None:
    world = made("openai", retries=3, timeout_seconds=0.9)
    world.service.hang.clear()
    for expected in (4, 5, 6):
        with pytest.raises(Unavailable):
            world.embedder.embed(["a"])
        until(lambda: len(world.service.requests) == expected)  # noqa: B023
        world.clock.now += 60
    world.service.hang.set()

    def embedded() -> bool:
        world.clock.now += 60
        try:
            return bool(world.embedder.embed(["a"]) == [unit("a", 1536)])
        except Unavailable:
            return False

    until(embedded)


def test_all_that_a_call_takes_stays_below_its_bound(made: Any) -> None:
    """The retries of a slow service end with the time for the whole call."""
    world = made("openai", retries=10)
    world.service.failures = [
        (503, {"Retry-After": "4.5"}, {}),
        (503, {"Retry-After": "4"}, {}),
    ] * 9
    with pytest.raises(Unavailable):
        world.embedder.embed(["a"])
    assert sum(world.clock.waits) <= SECONDS
    assert len(world.service.requests) < 11


@pytest.mark.parametrize(
    "content",
    [
        {}, {"data": []}, {"data": [{"index": 0, "embedding": "%%"}]},
        {"data": [{"index": 0, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 1, "embedding": [1.0] * 1536}]},
        {"data": [{"index": 0, "embedding": [0.0] * 1536}]},
        {"data": [{"index": 0, "embedding": "AAA="}]},
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_no_answer(made: Any, content: Any) -> None:
    world = made("openai", retries=0)
    world.service.failures = [(200, {}, content)]
    with pytest.raises(Unavailable) as caught:
        world.embedder.embed(["a"])
    assert caught.value.code == "malformed_answer"


def test_numbers_do_where_base64_is_not_known(made: Any) -> None:
    world = made("openai")
    data = [{"index": 0, "embedding": values("a", 1536)}]
    world.service.failures = [(200, {}, {"data": data})]
    assert world.embedder.embed(["a"]) == [unit("a", 1536)]


def test_a_wrong_key_is_the_users_to_put_right_at_the_start_only(made: Any) -> None:
    world = made("openai", api_key=SecretStr("sk-other"))
    with pytest.raises(UserError, match="refuses the key") as told:
        world.embedder.check()
    assert "sk-" not in str(told.value)
    world.clock.now += 600
    with pytest.raises(Unavailable) as caught:
        world.embedder.embed(["a"])
    assert caught.value.code == "unauthenticated"
    assert len(world.service.requests) == 2
    other = made("openai")
    other.service.failures = [DOWN] * 3
    with pytest.raises(Unavailable):
        other.embedder.check()
    fine = made("openai")
    fine.embedder.check()


def test_without_a_price_tokens_are_counted_as_unpriced() -> None:
    service = Service(openai)
    url = f"http://127.0.0.1:{service.port}/v1"
    settings = EmbedSettings(provider="openai", base_url=url, api_key=SecretStr(KEY))

    def down(*_: str) -> Price | None:
        raise Unavailable("registry", "down")

    embedder: Any = open_embedder(settings, down)
    try:
        embedder.embed(["two words"])
        usage = embedder.usage()
        assert (usage["tokens"], usage["unpriced_tokens"], usage["cost_pico_usd"]) == (2, 2, 0)
    finally:
        embedder.close()
        service.close()


@pytest.mark.parametrize(
    "values",
    [
        {"provider": "openai"},
        {"provider": "openai", "api_key": SecretStr("k"), "model": "my-deployment"},
        {"provider": "openai", "api_key": SecretStr("k"), "dimensions": 5_000},
        {"provider": "cohere", "api_key": SecretStr("k"), "model": "embed-english-v3.0",
         "dimensions": 256},
        {"provider": "sentence-transformers"},
        {"projection": Path("/nowhere")},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(values: Any) -> None:
    with pytest.raises(UserError):
        open_embedder(EmbedSettings(**values))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError):
        EmbedSettings(dimensions=100)
    with pytest.raises(ValidationError):
        EmbedSettings(provider="openai", dimensions=100, projection=Path("p"))
    with pytest.raises(ValidationError):
        EmbedSettings(provider="openai", base_url="https://user:password@example.com/v1")


def broken(text: str, vector: list[float]) -> Any:
    """The service, which makes this of one text."""

    def answer(path: str, headers: dict[str, str], body: Any) -> Any:
        status, found, content = cohere(path, headers, body)
        if text in body["texts"]:
            content["embeddings"]["float"][body["texts"].index(text)] = vector
        return status, found, content

    return answer


def test_a_text_that_a_service_makes_no_vector_of_costs_no_other_its_vector(made: Any) -> None:
    """Else everything that is ever sent together with it would wait for ever."""
    world = made("cohere", retries=0)
    world.service.api = broken(TEXTS[3], [0.0] * 1536)
    with pytest.raises(Incomplete) as caught:
        world.embedder.embed(TEXTS[:9])
    assert caught.value.code == "malformed_answer"
    expected = [None if n == 3 else unit(text, 1536) for n, text in enumerate(TEXTS[:9])]
    assert caught.value.vectors == expected
    assert world.embedder.embed([TEXTS[4]]) == [unit(TEXTS[4], 1536)], "it is not held off"
    world.service.api = broken(TEXTS[3], [1.0] * 7)
    with pytest.raises(Unavailable) as caught_whole:
        world.embedder.embed(TEXTS[:9])
    assert not isinstance(caught_whole.value, Incomplete)


def test_what_is_billed_for_an_answer_of_no_use_is_counted(made: Any) -> None:
    world = made("cohere", retries=1)
    world.service.api = broken(TEXTS[3], [1.0] * 7)
    with pytest.raises(Unavailable):
        world.embedder.embed(TEXTS[:9])
    usage = world.embedder.usage()
    assert (usage["requests"], usage["failures"], usage["texts"]) == (2, 2, 0)
    assert (usage["tokens"], usage["cost_pico_usd"]) == (2 * 27, 2 * 27 * 20_000)


def test_nothing_is_sent_whose_answer_nobody_would_wait_for(made: Any) -> None:
    """The time of the whole call is over: it would be billed, and thrown away."""
    world = made("openai")
    world.service.refuses = lambda texts: _overslept(world, texts)
    with pytest.raises(Unavailable):
        world.embedder.embed(["a", "b"])
    assert len(world.service.requests) == 1


def _overslept(world: Any, texts: Sequence[str]) -> bool:
    """A refusal of two texts that took all the time there was."""
    world.clock.now += SECONDS + 1
    return len(texts) > 1
