"""The model registry in TOML files: what a model is, by all its names, and its price at a time."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.items import ModelFacts
from schemas.ports import ModelEntry, Price, Tier
from stages.lookup.names import provider_name, variants
from stages.lookup.tomlfile import FileError, read_toml

PICO_PER_MILLION = 10**6
"""USD per million tokens × this = 10⁻¹² USD per token."""

_MEMO = 10_000
_LONG = 256
"""Characters: longer names are not remembered, so that the memo's bound is one of memory too."""
_US = 1_000_000


def _pico(value: object) -> int:
    """USD per million tokens as whole 10⁻¹² USD per token."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError
    try:
        pico = Decimal(value) * PICO_PER_MILLION
        whole = int(pico)
    except (ArithmeticError, ValueError):
        raise ValueError from None
    if pico != whole or not 0 <= whole < 1 << 63:
        raise ValueError
    return whole


Usd = Annotated[int, BeforeValidator(_pico)]
_USD = "USD per million tokens, not negative, at most six digits after the point"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rates(_File):
    input: Usd = Field(description=_USD)
    output: Usd = Field(description=_USD)
    cached: Usd | None = Field(default=None, description=_USD)
    cache_write: Usd | None = Field(default=None, description=_USD)
    reasoning: Usd | None = Field(default=None, description=_USD)


class _Tier(_Rates):
    above: int = Field(ge=0, description="a number of prompt tokens")


class _Price(_Rates):
    since: datetime.date = Field(alias="from", description="a date, YYYY-MM-DD")
    version: str | None = Field(
        default=None, min_length=1, description="the price list that it was first in"
    )
    tiers: list[_Tier] = Field(default=[], description="an array of tables with above")


class _Model(_File):
    id: str = Field(min_length=1, description="the model's name at its provider")
    provider: str = Field(min_length=1, description="the provider's name")
    family: str | None = Field(default=None, description="a name; the id where it is not given")
    context_window: int | None = Field(default=None, ge=1, description="a number of tokens")
    max_output_tokens: int | None = Field(default=None, ge=1, description="a number of tokens")
    aliases: list[str] = Field(default=[], description="an array of names")
    prices: list[_Price] = Field(default=[], description="an array of tables with from")


class _Models(_File):
    version: str = Field(min_length=1, description="the name of this price list")
    source: dict[str, str] = Field(default={}, description="a table of texts")
    providers: dict[str, list[str]] = Field(
        default={}, description="for each provider an array of its other names"
    )
    models: list[_Model] = Field(default=[], description="an array of tables with id and provider")


class _Entry(NamedTuple):
    id: str
    provider: str
    facts: ModelFacts
    starts: tuple[int, ...]
    prices: tuple[Price, ...]


class _Resolved(NamedTuple):
    """``entries`` are those before the first price, and from each price on."""

    starts: tuple[int, ...]
    entries: tuple[ModelEntry, ...]


def shipped_models() -> Path:
    """The price list that comes with the package."""
    with as_file(files("stages.lookup") / "data" / "models.toml") as path:
        return path


class TomlRegistry:
    """Models of one or more files; a later file replaces entries of the same provider and id.

    A provider that is given binds: the same model elsewhere has another price. Without one, a
    prefix such as ``openai/`` names it, else the first provider in the order of the files that has
    a model of that name. Raises :class:`FileError` for a file it cannot use.
    """

    def __init__(self, *paths: Path) -> None:
        self._providers: dict[str, str] = {}
        self._order: dict[str, int] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._names: dict[tuple[str, str], _Entry] = {}
        for path in paths:
            self._read(path)
        self._anywhere: dict[str, _Entry] = {}
        by_provider = sorted(self._names.items(), key=lambda item: self._order[item[0][0]])
        for (_, name), entry in by_provider:
            self._anywhere.setdefault(name, entry)
        self._memo: dict[tuple[str, str | None], _Resolved | None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(
        self, models: Sequence[tuple[str, str | None, int]], /
    ) -> Sequence[ModelEntry | None]:
        """For (model id, provider, event time in µs): the entry with the price valid then."""
        answers: list[ModelEntry | None] = []
        for name, provider, time in models:
            try:
                resolved = self._memo[name, provider]
            except KeyError:
                resolved = self._resolve(name, provider)
            answers.append(
                None if resolved is None else resolved.entries[bisect_right(resolved.starts, time)]
            )
        return answers

    def _resolve(self, name: str, provider: str | None) -> _Resolved | None:
        found = self._find(name, provider)
        if found is None:
            resolved = None
        else:
            alias = name != found.id or (provider is not None and provider != found.provider)
            facts = ModelFacts(
                found.id,
                found.provider,
                found.facts.context_window,
                found.facts.max_output_tokens,
                alias,
                found.facts.family,
            )
            prices = (None, *found.prices)
            resolved = _Resolved(found.starts, tuple(ModelEntry(facts, p) for p in prices))
        if len(name) + len(provider or "") <= _LONG:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[name, provider] = resolved
        return resolved

    def _find(self, name: str, provider: str | None) -> _Entry | None:
        given = None
        if provider:
            given = self._known_provider(provider)
            if given is None:
                return None
        for variant, named in variants(name, self._known_provider):
            owner = given or named
            entry = (
                self._anywhere.get(variant) if owner is None else self._names.get((owner, variant))
            )
            if entry is not None:
                return entry
        return None

    def _known_provider(self, name: str) -> str | None:
        return self._providers.get(provider_name(name))

    def _read(self, path: Path) -> None:
        found = read_toml(path, _Models)
        for provider, others in found.providers.items():
            self._add_provider(provider)
            for other in others:
                known = self._providers.setdefault(provider_name(other), provider)
                if known != provider:
                    raise FileError(path, f"providers.{provider}", "a name of another provider")
        names: dict[tuple[str, str], _Entry] = {}
        for number, model in enumerate(found.models, 1):
            provider = self._providers.get(provider_name(model.provider), model.provider)
            self._add_provider(provider)
            entry = _entry(model, provider, found.version, path, number)
            for name in (model.id, *model.aliases):
                key = (provider, name.lower())
                if key in names:
                    raise FileError(path, f"models[{number}]", "its name is taken by another model")
                names[key] = entry
            replaced = self._entries.get((provider, model.id))
            self._entries[provider, model.id] = entry
            if replaced is not None:
                self._names = {k: e for k, e in self._names.items() if e is not replaced}
        self._names.update(names)

    def _add_provider(self, provider: str) -> None:
        self._providers.setdefault(provider_name(provider), provider)
        self._order.setdefault(provider, len(self._order))


def _entry(model: _Model, provider: str, version: str, path: Path, number: int) -> _Entry:
    days = [price.since for price in model.prices]
    if days != sorted(set(days)):
        raise FileError(path, f"models[{number}].prices", "expected each from after the one before")
    facts = ModelFacts(
        model.id,
        provider,
        model.context_window,
        model.max_output_tokens,
        family=model.family or model.id,
    )
    return _Entry(
        model.id,
        provider,
        facts,
        tuple(_midnight(day) for day in days),
        tuple(_price(price, version) for price in model.prices),
    )


def _price(price: _Price, version: str) -> Price:
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


def _midnight(day: datetime.date) -> int:
    """The start of a day in UTC, in µs since 1970."""
    return (day - datetime.date(1970, 1, 1)).days * 86_400 * _US
