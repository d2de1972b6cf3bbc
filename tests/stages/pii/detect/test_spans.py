"""Properties of overlap resolution."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.pii.detect import NAME_ENTITIES, PATTERN_ENTITIES, Span, resolve


def make_span(start: int, length: int, entity: str, score: float) -> Span:
    return Span(start, start + length, entity, score)


spans = st.builds(
    make_span,
    st.integers(0, 60),
    st.integers(1, 20),
    st.sampled_from(sorted(PATTERN_ENTITIES | NAME_ENTITIES)),
    st.sampled_from((0.5, 0.85, 1.0)),
)


def covered(found: list[Span] | tuple[Span, ...]) -> set[int]:
    return {at for span in found for at in range(span.start, span.end)}


@given(st.lists(spans, max_size=12).flatmap(lambda s: st.tuples(st.just(s), st.permutations(s))))
def test_order_does_not_matter(pair: tuple[list[Span], list[Span]]) -> None:
    assert resolve(pair[0]) == resolve(pair[1])


@given(st.lists(spans, max_size=12))
def test_sorted_disjoint_and_covering_what_was_covered(found: list[Span]) -> None:
    resolved = resolve(found)
    edges = [edge for span in resolved for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert len({span.start for span in resolved}) == len(resolved)
    assert covered(resolved) == covered(found)
    assert resolve(resolved) == resolved


@given(st.lists(spans, max_size=12))
def test_no_character_of_a_pattern_goes_to_a_name(found: list[Span]) -> None:
    patterns = covered([span for span in found if span.entity in PATTERN_ENTITIES])
    names = covered([span for span in resolve(found) if span.entity in NAME_ENTITIES])
    assert not patterns & names


def test_the_longer_pattern_wins_and_the_rest_of_a_name_stays() -> None:
    name = Span(0, 20, "PERSON", 0.85)
    mail = Span(5, 15, "EMAIL_ADDRESS", 1.0)
    inside = Span(6, 9, "US_SSN", 1.0)
    assert resolve([inside, name, mail]) == (
        Span(0, 5, "PERSON", 0.85),
        mail,
        Span(15, 20, "PERSON", 0.85),
    )
