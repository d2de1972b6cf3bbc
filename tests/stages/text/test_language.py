from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text import Language, detect_language

REFUSED_BY_CLD2 = [
    "\x00",
    "\x0b",
    "\x1b",
    "\x7f",
    "\x85",
    "\ufdd0",
    "\ufffe",
    "\U0010ffff",
    "\ud800",
]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is the capital of France, and how many people live there?", "en"),
        ("Wie viele Menschen leben in der Hauptstadt von Österreich?", "de"),
        ("Bonjour, comment ça va aujourd’hui ?", "fr"),
        ("¿Cuántas personas viven en la capital de México?", "es"),
        ("Сколько людей живёт в столице этой большой страны?", "ru"),
        ("今天天气怎么样", "zh"),
        ("こんにちは、お元気ですか", "ja"),
        ("שלום, מה שלומך היום?", "he"),
    ],
)
def test_the_language_of_a_sentence(text: str, code: str) -> None:
    language = detect_language(text)
    assert language.code == code
    assert 0.5 < language.confidence <= 1


@pytest.mark.parametrize("text", ["", "   ", "ok", "12345", "print(x)", "a" * 1_000_000])
def test_what_is_too_short_or_no_language_is_undetermined(text: str) -> None:
    assert detect_language(text) == Language("und", 0.0)


@pytest.mark.parametrize("sign", REFUSED_BY_CLD2)
def test_signs_that_cld2_refuses_are_left_out(sign: str) -> None:
    text = f"This is an ordinary English sentence{sign} with one strange sign in it."
    assert detect_language(text).code == "en"


@given(st.text(alphabet=st.characters(), max_size=600))
def test_it_never_raises(text: str) -> None:
    code, confidence = detect_language(text)
    assert code
    assert 0 <= confidence <= 1
    assert code != "und" or confidence == 0


def test_only_the_first_500_characters_count() -> None:
    english = "This is an ordinary English sentence. " * 14
    assert len(english) > 500
    german = "Und hier steht ein gewöhnlicher deutscher Satz. " * 100
    assert detect_language(english + german) == detect_language(english)
