"""How many tokens a text has for its model, and who says so."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import Final, NamedTuple, get_args

from stages.text.encodings import EncodingName, counter


class TokenCount(NamedTuple):
    """``source`` is ``provider`` (the provider's usage figure), ``tokenizer:<encoding>`` (the
    model's own encoding) or ``estimate:<encoding>`` (another model's)."""

    tokens: int
    source: str


class Choice(NamedTuple):
    """The encoding to count with, and whether it is the model's own."""

    encoding: EncodingName
    own: bool

    @property
    def source(self) -> str:
        return f"{'tokenizer' if self.own else 'estimate'}:{self.encoding}"


class _Table(NamedTuple):
    prefixes: dict[str, EncodingName]
    default: EncodingName
    providers: dict[str, EncodingName]


_BY_NAME: Final[dict[str, EncodingName]] = {name: name for name in get_args(EncodingName)}


def _load() -> _Table:
    data = tomllib.loads(files(__package__).joinpath("encodings.toml").read_text("utf-8"))
    models, estimate = data["tokenizer"], data["estimate"]
    return _Table(
        {prefix: _BY_NAME[name] for name, prefixes in models.items() for prefix in prefixes},
        _BY_NAME[estimate["default"]],
        {provider: _BY_NAME[name] for provider, name in estimate["providers"].items()},
    )


_TABLE: Final = _load()


def _own_encoding(model: str) -> EncodingName | None:
    fitting = [
        prefix
        for prefix in _TABLE.prefixes
        if model.startswith(prefix) and not model[len(prefix) : len(prefix) + 1].isalnum()
    ]
    return _TABLE.prefixes[max(fitting, key=len)] if fitting else None


@lru_cache(maxsize=4_096)
def choose_encoding(model: str | None, provider: str | None) -> Choice:
    """By ``encodings.toml``: the model's own encoding, or one to estimate with."""
    name = (model or "").lower().rpartition("/")[2].removeprefix("ft:")
    own = _own_encoding(name)
    if own is not None:
        return Choice(own, own=True)
    return Choice(_TABLE.providers.get((provider or "").lower(), _TABLE.default), own=False)


def count_tokens(text: str, model: str | None, provider: str | None) -> TokenCount:
    """Counts the text's own tokens, without what a chat format adds around them."""
    choice = choose_encoding(model, provider)
    return TokenCount(counter(choice.encoding)(text), choice.source)
