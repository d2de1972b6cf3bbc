"""The model registry in TOML files: what a model is, by all its names, and its price at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from pydantic import Field

from schemas.items import ModelFacts
from schemas.ports import ModelEntry
from stages.lookup.names import provider_name, variants
from stages.lookup.prices import Model, Resolved, Written, WrittenPrice, history, resolved
from stages.lookup.tomlfile import FileError, read_toml

_MEMO = 10_000
_LONG = 256
"""Characters: longer names are not remembered, so that the memo's bound is one of memory too."""


class _Model(Written):
    id: str = Field(min_length=1, description="the model's name at its provider")
    provider: str = Field(min_length=1, description="the provider's name")
    family: str | None = Field(default=None, description="a name; the id where it is not given")
    context_window: int | None = Field(default=None, ge=1, description="a number of tokens")
    max_output_tokens: int | None = Field(default=None, ge=1, description="a number of tokens")
    aliases: list[str] = Field(default=[], description="an array of names")
    prices: list[WrittenPrice] = Field(default=[], description="an array of tables with from")


class _Models(Written):
    version: str = Field(min_length=1, description="the name of this price list")
    source: dict[str, str] = Field(default={}, description="a table of texts")
    providers: dict[str, list[str]] = Field(
        default={}, description="for each provider an array of its other names"
    )
    models: list[_Model] = Field(default=[], description="an array of tables with id and provider")


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
        self._entries: dict[tuple[str, str], Model] = {}
        self._names: dict[tuple[str, str], Model] = {}
        for path in paths:
            self._read(path)
        self._anywhere: dict[str, Model] = {}
        by_provider = sorted(self._names.items(), key=lambda item: self._order[item[0][0]])
        for (_, name), entry in by_provider:
            self._anywhere.setdefault(name, entry)
        self._memo: dict[tuple[str, str | None], Resolved | None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(
        self, models: Sequence[tuple[str, str | None, int]], /
    ) -> Sequence[ModelEntry | None]:
        """For (model id, provider, event time in µs): the entry with the price valid then."""
        answers: list[ModelEntry | None] = []
        for name, provider, time in models:
            try:
                found = self._memo[name, provider]
            except KeyError:
                found = self._resolve(name, provider)
            answers.append(None if found is None else found.at(time))
        return answers

    def _resolve(self, name: str, provider: str | None) -> Resolved | None:
        found = self._find(name, provider)
        answer = None if found is None else resolved(found, name, provider)
        if len(name) + len(provider or "") <= _LONG:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[name, provider] = answer
        return answer

    def _find(self, name: str, provider: str | None) -> Model | None:
        given = None
        if provider:
            given = self.known_provider(provider)
            if given is None:
                return None
        for variant, named in variants(name, self.known_provider):
            owner = given or named
            entry = (
                self._anywhere.get(variant) if owner is None else self._names.get((owner, variant))
            )
            if entry is not None:
                return entry
        return None

    def known_provider(self, name: str) -> str | None:
        """A provider by any of its names."""
        return self._providers.get(provider_name(name))

    @property
    def models(self) -> Mapping[tuple[str, str], Model]:
        """All models by provider and id."""
        return self._entries

    @property
    def names(self) -> Mapping[tuple[str, str], Model]:
        """All models by provider and each of their names in lower case."""
        return self._names

    @property
    def first(self) -> Mapping[str, Model]:
        """What each name in lower case stands for where no provider is given."""
        return self._anywhere

    def _read(self, path: Path) -> None:
        found = read_toml(path, _Models)
        for provider, others in found.providers.items():
            self._add_provider(provider)
            for other in others:
                known = self._providers.setdefault(provider_name(other), provider)
                if known != provider:
                    raise FileError(path, f"providers.{provider}", "a name of another provider")
        names: dict[tuple[str, str], Model] = {}
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


def _entry(model: _Model, provider: str, version: str, path: Path, number: int) -> Model:
    try:
        starts, prices = history(model.prices, version)
    except ValueError:
        raise FileError(
            path, f"models[{number}].prices", "expected each from after the one before"
        ) from None
    facts = ModelFacts(
        model.id,
        provider,
        model.context_window,
        model.max_output_tokens,
        family=model.family or model.id,
    )
    names = frozenset(name.lower() for name in (model.id, *model.aliases))
    return Model(model.id, provider, facts, starts, prices, names)
