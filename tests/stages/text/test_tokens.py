from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken.model
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.text import (
    EncodingUnavailable,
    TextStage,
    TokenCount,
    choose_encoding,
    count_tokens,
)
from stages.text.encodings import EncodingName, counter, rs_bpe_counter, tiktoken_counter

ENCODINGS: list[EncodingName] = ["cl100k_base", "o200k_base"]
TEXTS = [
    "",
    "Hello, world!",
    "  indented\n\n\tcode = {'a': 1}\r\n",
    "don't DON'T we'LL I'm",
    "Straße naïve Ελληνικά 你好，世界 こんにちは 🙂👩‍👩‍👧",
    "<|endoftext|><|im_start|>user<|fim_prefix|>",
    "1234567890 3.14159 1,000,000",
    "a" * 5_000,
    " " * 5_000,
    "\n" * 500 + "x",
    "\u0301" * 500,
    "https://example.org/a?b=c&d=%20e#f",
]


@pytest.fixture(scope="module", autouse=True)
def _ranks() -> Iterator[None]:
    spec = importlib.util.find_spec("llama_index")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)), "core/_static/tiktoken_cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield


@pytest.mark.parametrize("name", ENCODINGS)
def test_both_tokenizers_count_the_same(name: EncodingName) -> None:
    ours, theirs = rs_bpe_counter(name), tiktoken_counter(name)
    assert [ours(text) for text in TEXTS] == [theirs(text) for text in TEXTS]


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=300), st.text(alphabet="aA'sSlL 1\n\t.,{é\u0301你🙂<|>", max_size=80)
    )
)
@pytest.mark.parametrize("name", ENCODINGS)
def test_both_tokenizers_count_the_same_on_any_text(name: EncodingName, text: str) -> None:
    assert rs_bpe_counter(name)(text) == tiktoken_counter(name)(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("<|endoftext|>", 7), ("hello <|endoftext|> world", 8)],
)
def test_special_tokens_are_ordinary_text(text: str, tokens: int) -> None:
    assert counter("cl100k_base")(text) == tokens


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sign", ["a", " ", "1", "\n", "é", "\u0301", "a ", "<|endoftext|>", "}"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_million_characters_of_one_kind_are_counted(name: EncodingName, sign: str) -> None:
    text = sign * (1_000_000 // len(sign))
    assert 0 < counter(name)(text) <= len(text.encode())


@pytest.mark.parametrize(
    ("model", "provider", "source"),
    [
        ("gpt-4o-2024-08-06", "openai", "tokenizer:o200k_base"),
        ("openai/gpt-4o-mini", None, "tokenizer:o200k_base"),
        ("ft:gpt-4o:acme::abc", "openai", "tokenizer:o200k_base"),
        ("GPT-4.1-nano", "azure", "tokenizer:o200k_base"),
        ("o3-mini", "openai", "tokenizer:o200k_base"),
        ("gpt-4", "openai", "tokenizer:cl100k_base"),
        ("gpt-4-turbo", "openai", "tokenizer:cl100k_base"),
        ("gpt-3.5-turbo-0125", "openai", "tokenizer:cl100k_base"),
        ("gpt-9", "openai", "estimate:o200k_base"),
        ("claude-sonnet-4", "anthropic", "estimate:cl100k_base"),
        ("o1000", "elsewhere", "estimate:cl100k_base"),
        ("", None, "estimate:cl100k_base"),
        (None, None, "estimate:cl100k_base"),
    ],
)
def test_the_encoding_that_fits_the_model(
    model: str | None, provider: str | None, source: str
) -> None:
    assert choose_encoding(model, provider).source == source
    text = "The same words in another encoding: naïve Straße 你好"
    encoding = next(name for name in ENCODINGS if source.endswith(name))
    assert count_tokens(text, model, provider) == TokenCount(counter(encoding)(text), source)


def test_the_table_agrees_with_tiktokens() -> None:
    theirs = tiktoken.model.MODEL_TO_ENCODING | tiktoken.model.MODEL_PREFIX_TO_ENCODING
    for model, encoding in theirs.items():
        choice = choose_encoding(model.rstrip("-"), "openai")
        if encoding == "o200k_harmony":
            encoding = "o200k_base"
        if encoding in ENCODINGS:
            assert (choice.encoding, choice.own) == (encoding, True), model
        else:
            assert not choice.own, model


@pytest.fixture
def without_rs_bpe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "rs_bpe.bpe", None)
    counter.cache_clear()
    yield
    counter.cache_clear()


@pytest.mark.usefixtures("without_rs_bpe")
def test_tiktoken_counts_where_rs_bpe_does_not_import() -> None:
    with pytest.raises(ImportError):
        rs_bpe_counter("o200k_base")
    for text in TEXTS:
        assert counter("o200k_base")(text) == tiktoken_counter("o200k_base")(text)


@pytest.mark.usefixtures("without_rs_bpe")
@pytest.mark.parametrize("folder", [None, "/nonexistent"])
def test_without_ranks_nothing_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, folder: str | None
) -> None:
    if folder is None:
        monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    else:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder)
    with pytest.raises(EncodingUnavailable, match="make install"):
        counter("cl100k_base")
    with pytest.raises(EncodingUnavailable, match="make install"):
        TextStage()
