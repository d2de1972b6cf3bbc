"""Models as the registry's messages carry them. Pure, both ways.

The specified message has room for one price, as a double, and for no history. What it cannot say
travels in ``metadata``, in the words of ``models.toml``:

``prices``
    The price history as a JSON array, oldest first: ``from`` (a date), ``input``, ``output`` and,
    where they exist, ``cached``, ``cache_write``, ``reasoning``, ``tiers``, ``version``; rates are
    decimal strings, USD per million tokens. It is append-only: an old event keeps its price.
``price_version``
    The name of the price list, for prices that name none.
``aliases``
    The model's other names as a JSON array.

Without ``prices``, the plain fields are one price from ``released_at`` on (without it, since
1970-01-01). Then there is no history: a price that changes changes old events that are read anew.
"""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from schemas.items import ModelFacts
from schemas.ports import Price, Tier
from schemas.proto import registry_pb2 as pb
from stages.lookup.prices import PICO_PER_MILLION, Model, WrittenPrice, history, pico

PRICES = "prices"
VERSION = "price_version"
ALIASES = "aliases"
UNNAMED = "registry"
"""The price list of a registry that does not name it."""

_FIRST_DAY = datetime.date(1970, 1, 1)
_written = TypeAdapter(list[WrittenPrice])
_names = TypeAdapter(list[str])


class Malformed(Exception):
    """A message that says something impossible; ``code`` says what."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def qualified(provider: str, name: str) -> str:
    """The ``model_id`` that asks for a name at one provider; a bare name asks for the first."""
    return f"{quote(provider, safe='')}:{name}"


def from_message(message: pb.Model) -> Model:
    """Raises Malformed."""
    if not message.id or not message.provider:
        raise Malformed("model_without_name")
    facts = ModelFacts(
        message.id,
        message.provider,
        message.context_window if message.context_window > 0 else None,
        message.max_output_tokens if message.max_output_tokens > 0 else None,
        family=message.family or message.id,
    )
    version = message.metadata.get(VERSION) or UNNAMED
    try:
        aliases = _names.validate_json(message.metadata.get(ALIASES) or "[]")
        starts, prices = history(_prices(message), version)
    except ValueError:
        raise Malformed("model_malformed") from None
    names = frozenset(name.lower() for name in (message.id, *aliases))
    return Model(message.id, message.provider, facts, starts, prices, names)


def _prices(message: pb.Model) -> list[WrittenPrice]:
    """Raises ValueError."""
    text = message.metadata.get(PRICES)
    if text:
        try:
            return _written.validate_python(json.loads(text, parse_float=Decimal))
        except (ValidationError, RecursionError):
            raise ValueError from None
    rates = message.input_cost_per_1k, message.output_cost_per_1k
    if rates == (0.0, 0.0):  # What the field holds when nobody has set it.
        return []
    day = message.released_at.ToDatetime().date() if message.HasField("released_at") else _FIRST_DAY
    # What the registry's people have written. A double has every decimal of 15 digits exactly, and
    # what lies behind is left over from reckoning (0.14 / 1000 is 0.00014000000000000001).
    values = [Decimal(format(rate, ".15g")) * 1000 for rate in rates]
    if not all(value.is_finite() for value in values):
        raise ValueError
    for value in values:
        pico(value)
    return [WrittenPrice.model_validate({"from": day, "input": values[0], "output": values[1]})]


def to_message(model: Model, version: str) -> pb.Model:
    """The message of a model; the plain price fields hold its latest price, rounded to a double."""
    message = pb.Model(
        id=model.id,
        provider=model.provider,
        family=model.facts.family or "",
        context_window=model.facts.context_window or 0,
        max_output_tokens=model.facts.max_output_tokens or 0,
    )
    message.metadata[VERSION] = version
    message.metadata[PRICES] = json.dumps([_written_price(price) for price in model.prices])
    message.metadata[ALIASES] = json.dumps(sorted(model.names - {model.id.lower()}))
    if model.prices:
        latest = model.prices[-1]
        message.input_cost_per_1k = float(_usd(latest.input) / 1000)
        message.output_cost_per_1k = float(_usd(latest.output) / 1000)
    return message


def _written_price(price: Price) -> dict[str, Any]:
    return {
        "from": price.valid_from,
        "version": price.version,
        **_rates(price),
        "tiers": [{"above": tier.above, **_rates(tier)} for tier in price.tiers],
    }


def _rates(rates: Price | Tier) -> dict[str, str]:
    found = {
        "input": rates.input,
        "output": rates.output,
        "cached": rates.cached,
        "cache_write": rates.cache_write,
        "reasoning": rates.reasoning,
    }
    return {name: format(_usd(value), "f") for name, value in found.items() if value is not None}


def _usd(value: int) -> Decimal:
    return Decimal(value) / PICO_PER_MILLION
