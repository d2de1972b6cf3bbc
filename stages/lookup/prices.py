"""Models and their prices as they are written down: in a TOML file, or in a registry's metadata."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.items import ModelFacts
from schemas.ports import ModelEntry, Price, Tier

PICO_PER_MILLION = 10**6
"""USD per million tokens × this = 10⁻¹² USD per token."""

_DAY_US = 86_400_000_000


def pico(value: object) -> int:
    """USD per million tokens as whole 10⁻¹² USD per token. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError
    try:
        exact = Decimal(value) * PICO_PER_MILLION
        whole = int(exact)
    except (ArithmeticError, ValueError):
        raise ValueError from None
    if exact != whole or not 0 <= whole < 1 << 63:
        raise ValueError
    return whole


Usd = Annotated[int, BeforeValidator(pico)]
_USD = "USD per million tokens, not negative, at most six digits after the point"


class Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rates(Written):
    input: Usd = Field(description=_USD)
    output: Usd = Field(description=_USD)
    cached: Usd | None = Field(default=None, description=_USD)
    cache_write: Usd | None = Field(default=None, description=_USD)
    reasoning: Usd | None = Field(default=None, description=_USD)


class WrittenTier(_Rates):
    above: int = Field(ge=0, description="a number of prompt tokens")


class WrittenPrice(_Rates):
    since: datetime.date = Field(alias="from", description="a date, YYYY-MM-DD")
    version: str | None = Field(
        default=None, min_length=1, description="the price list that it was first in"
    )
    tiers: list[WrittenTier] = Field(default=[], description="an array of tables with above")


class Model(NamedTuple):
    """A model under one provider, with its price history: ``prices[i]`` holds from ``starts[i]``
    (µs since 1970). ``names``: its id and other names, in lower case."""

    id: str
    provider: str
    facts: ModelFacts
    starts: tuple[int, ...]
    prices: tuple[Price, ...]
    names: frozenset[str] = frozenset()


class Resolved(NamedTuple):
    """What a name stands for: ``entries`` are those before the first price and from each on."""

    starts: tuple[int, ...]
    entries: tuple[ModelEntry, ...]

    def at(self, time: int) -> ModelEntry:
        """The entry with the price valid at an event's own time (µs since 1970)."""
        return self.entries[bisect_right(self.starts, time)]


def resolved(found: Model, name: str, provider: str | None) -> Resolved:
    """A model as an event named it: by another name it is an alias."""
    facts = ModelFacts(
        found.id,
        found.provider,
        found.facts.context_window,
        found.facts.max_output_tokens,
        name != found.id or (provider is not None and provider != found.provider),
        found.facts.family,
    )
    prices = (None, *found.prices)
    return Resolved(found.starts, tuple(ModelEntry(facts, price) for price in prices))


def history(
    written: Sequence[WrittenPrice], version: str
) -> tuple[tuple[int, ...], tuple[Price, ...]]:
    """``starts`` and ``prices`` of a model; ``version`` names the list of those that name none.

    Raises ValueError unless each price is from after the one before.
    """
    days = [price.since for price in written]
    if days != sorted(set(days)):
        raise ValueError
    return tuple(midnight(day) for day in days), tuple(_price(p, version) for p in written)


def _price(price: WrittenPrice, version: str) -> Price:
    tiers = tuple(
        Tier(t.above, t.input, t.output, t.cached, t.cache_write, t.reasoning)
        for t in sorted(price.tiers, key=lambda tier: tier.above)
    )
    return Price(
        price.version or version,
        price.since.isoformat(),
        price.input,
        price.output,
        price.cached,
        price.cache_write,
        price.reasoning,
        tiers,
    )


def midnight(day: datetime.date) -> int:
    """The start of a day in UTC, in µs since 1970."""
    return (day - datetime.date(1970, 1, 1)).days * _DAY_US
