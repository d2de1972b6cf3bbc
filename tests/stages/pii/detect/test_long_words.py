"""Words that are none: runs of signs that would keep the tokenizer busy for minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pii.detect import NameDetector
from stages.pii.detect.names import _breakable

MOST = 64


@pytest.fixture(scope="module")
def detector() -> NameDetector:
    return NameDetector()


@given(
    st.lists(st.sampled_from(["[", "a", "😀", "'s", " ", "é", "\n", "-", "x" * 70]), max_size=200)
)
def test_only_signs_in_long_words_become_blanks(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = _breakable(text)
    assert len(found) == len(text)
    assert all(a == b or (b == " " and not a.isalnum()) for a, b in zip(text, found, strict=True))
    assert all(word.isalnum() for word in found.split() if len(word) > MOST)
    if all(len(word) <= MOST for word in text.split()):
        assert found == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sign", ["[", "😀", "'s", "-a", "e\u0301", "(a)", "://"])
def test_a_window_full_of_signs_is_read(detector: NameDetector, sign: str) -> None:
    text = "Ada Lovelace lives in London. " + sign * (19_000 // len(sign)) + " Ask Ada Lovelace."
    (found,) = detector.detect([text])
    assert "Ada Lovelace" in [text[span.start : span.end] for span in found]
