from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text import collapse, normalise, text_hash

MARKS = "\u0301\u0316\u0327\u0344\u05b4\u034f\u3099\U0001d165"
COMPOSABLE = st.text(alphabet="aeé가각か\u2126\ufb2c" + MARKS, max_size=60)
LAYOUT = st.text(alphabet="ab \t\r\n\u00a0\u2028é\u0301", max_size=60)
TEXTS = st.one_of(st.text(max_size=200), COMPOSABLE, LAYOUT)
BLANKS = st.text(alphabet=" \t\n\r\x0b\x0c\x1c\x1f\u00a0\u2003\u2028", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a\r\nb\rc\n", "a\nb\nc"),
        ("a \t\n\t b\t ", "a\n\t b"),
        (" \n \n", ""),
        ("  kept indent\n    more", "  kept indent\n    more"),
        ("cafe\u0301", "café"),
        ("a\u00a0\nb", "a\u00a0\nb"),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal


@given(TEXTS)
def test_normalise_is_idempotent_and_keeps_its_promises(text: str) -> None:
    normal = normalise(text)
    assert normalise(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert "\r" not in normal
    assert all(line == line.rstrip(" \t") for line in normal.split("\n"))


@given(COMPOSABLE.filter(lambda text: not set(text) & set("\r\n\t ")))
def test_only_the_normal_form_changes_where_there_is_no_layout(text: str) -> None:
    assert normalise(text) == unicodedata.normalize("NFC", text)


@given(st.text(alphabet="ae가" + MARKS * 4, min_size=60, max_size=400))
def test_long_runs_of_marks_get_the_same_form_as_from_unicodedata(text: str) -> None:
    assert normalise(text) == unicodedata.normalize("NFC", text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0301\u0316" * 500_000,
        "\u0344\u0316" * 500_000,
        "a" + ("\u0301" * 20 + "\u0316" * 20 + "\u034f") * 24_000,
        "\ufb2c\u0316" * 500_000,
        "e\u0301" * 500_000,
        " \n" * 500_000 + "x",
        " " * 1_000_000 + "x",
        "\r" * 1_000_000 + "x",
    ],
    ids=["marks", "decomposing", "starters-between", "excluded", "nfd", "lines", "blanks", "cr"],
)
def test_hostile_megabytes_are_normalised_and_hashed(text: str) -> None:
    normal = normalise(text)
    assert unicodedata.is_normalized("NFC", normal)
    assert text_hash(normal) == text_hash(normal + "\n")


@given(TEXTS)
def test_collapse_is_idempotent_and_splits_as_python_does(text: str) -> None:
    assert collapse(text) == " ".join(text.split())
    assert collapse(collapse(text)) == collapse(text)


@given(st.lists(st.text(alphabet="abcé.,", min_size=1), max_size=20), st.data())
def test_the_hash_ignores_whitespace_and_nothing_else(
    words: list[str], data: st.DataObject
) -> None:
    gaps = data.draw(st.lists(BLANKS, min_size=len(words) + 1, max_size=len(words) + 1))
    spread = "".join(gap + word for gap, word in zip(gaps, words, strict=False)) + gaps[-1]
    assert text_hash(spread) == text_hash(" ".join(words))
    assert text_hash(spread) == hashlib.sha256(" ".join(words).encode()).hexdigest()
    assert text_hash(spread + "x") != text_hash(spread)
