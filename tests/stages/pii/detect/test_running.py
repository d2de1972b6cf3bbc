"""The lean runner against Presidio's own ``analyze``, recognizer by recognizer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pii.detect.fold import fold
from stages.pii.detect.presidio import recognizer
from stages.pii.detect.rules import ROWS
from stages.pii.detect.running import finder, widest

from .texts import prose, texts

PROSE = [fold(text) for text in prose(60, seed=11)]


@pytest.mark.parametrize("name", sorted({row.recognizer for row in ROWS}))
def test_same_matches_as_analyze(name: str) -> None:
    theirs = recognizer(name, ("US", "GB", "DE"))
    ours = finder(theirs)

    def check(text: str) -> None:
        results = theirs.analyze(text, theirs.supported_entities)
        assert sorted(ours(text)) == sorted((r.start, r.end, float(r.score)) for r in results)

    @settings(max_examples=30, deadline=None)
    @given(texts.map(fold))
    def on_generated(text: str) -> None:
        check(text)

    on_generated()
    for text in PROSE:
        check(text)


matches = st.builds(
    lambda start, length, score: (start, start + length, score),
    st.integers(0, 15),
    st.integers(1, 8),
    st.sampled_from((0.05, 0.5, 1.0)),
)


@given(st.lists(matches, max_size=12))
def test_widest_drops_what_a_likelier_match_contains(found: list[tuple[int, int, float]]) -> None:
    def hidden(m: tuple[int, int, float]) -> bool:
        return any(o != m and o[0] <= m[0] and m[1] <= o[1] and o[2] >= m[2] for o in found)

    assert sorted(widest(found)) == sorted({m for m in found if not hidden(m)})
