from __future__ import annotations

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.items import Cost, UsageFacts
from schemas.ports import Price, Tier
from stages.lookup.cost import MAX_PICO_USD, cost_of

DATA = tomllib.loads((Path(__file__).parent / "costs.toml").read_text("utf-8"))


def price_of(values: dict[str, Any]) -> Price:
    tiers = tuple(Tier(**tier) for tier in values.get("tiers", ()))
    return Price("list-1", "2026-01-01", **{**values, "tiers": tiers})


PRICES = {name: price_of(values) for name, values in DATA["prices"].items()}


def usage_of(values: dict[str, int]) -> UsageFacts:
    return UsageFacts(**{f"{name}_tokens": count for name, count in values.items()})


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: case["name"])
def test_costs_are_as_computed_by_hand(case: dict[str, Any]) -> None:
    price = PRICES[case["price"]] if "price" in case else None
    cost = cost_of(usage_of(case["usage"]), price)
    if "pico_usd" in case:
        assert cost == Cost("priced", case["pico_usd"], "list-1", "2026-01-01", "provider")
    else:
        assert cost == Cost(case["status"], token_source="provider")


def test_no_usage_is_no_cost_whatever_the_price() -> None:
    assert cost_of(None, PRICES["plain"]) == cost_of(None, None) == Cost("none")


def test_unpriced_is_not_zero() -> None:
    assert cost_of(UsageFacts(1, 1, 2), None).pico_usd is None


counts = st.integers(0, 10**7)


@given(
    counts,
    counts,
    counts,
    counts,
    counts,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.none() | st.integers(0, 10**9),
)
def test_cost_is_exact_and_a_sum_over_its_parts(
    fresh: int,
    cached: int,
    written: int,
    spoken: int,
    thought: int,
    inward: int,
    outward: int,
    cheaper: int | None,
) -> None:
    usage = UsageFacts(
        fresh + cached + written,
        spoken + thought,
        fresh + cached + written + spoken + thought,
        cached,
        written,
        thought,
    )
    cost = cost_of(usage, Price("v", "2026-01-01", inward, outward, cached=cheaper))
    cached_rate = inward if cheaper is None else cheaper
    usd = sum(
        Fraction(tokens * rate, 10**12)
        for tokens, rate in (
            (fresh, inward),
            (cached, cached_rate),
            (written, inward),
            (spoken, outward),
            (thought, outward),
        )
    )
    if usd * 10**12 > MAX_PICO_USD:
        assert cost.status == "inconsistent"
    else:
        assert Fraction(cost.pico_usd or 0, 10**12) == usd
