from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from stages.lookup import FileError, LookupSettings, TomlRegistry, open_registry, shipped_models

NOW = 1_767_225_600_000_000


def at(day: str) -> int:
    moment = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 1_000_000


@pytest.fixture(scope="module")
def shipped() -> TomlRegistry:
    return TomlRegistry(shipped_models())


@pytest.mark.parametrize(
    ("name", "provider", "found"),
    [
        ("gpt-4o", None, "openai/gpt-4o"),
        ("gpt-4o", "openai", "openai/gpt-4o"),
        ("GPT-4o", "OpenAI", "openai/gpt-4o"),
        ("gpt-4o", "azure", "azure/gpt-4o"),
        ("gpt-4o", "Azure-OpenAI", "azure/gpt-4o"),
        ("gpt-4o", "azure.ai.openai", "azure/gpt-4o"),
        ("openai/gpt-4o", None, "openai/gpt-4o"),
        ("azure/gpt-4o", None, "azure/gpt-4o"),
        ("openai/gpt-4o", "azure", "azure/gpt-4o"),
        ("gpt-4o-2024-08-06", None, "openai/gpt-4o-2024-08-06"),
        ("gpt-4o-2031-01-01", None, "openai/gpt-4o"),
        ("openai/gpt-4o-20310101", None, "openai/gpt-4o"),
        ("ft:gpt-4o-2024-08-06:acme::7p4lURel", "openai", "openai/ft:gpt-4o-2024-08-06"),
        ("models/gemini-2.5-pro", None, "google/gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "gemini", "google/gemini-2.5-pro"),
        ("gemini-2.5-pro", "vertexai", "vertex_ai/gemini-2.5-pro"),
        ("publishers/google/models/gemini-2.5-pro@001", "vertex", "vertex_ai/gemini-2.5-pro"),
        (
            "projects/p1/locations/us/publishers/google/models/gemini-2.5-pro",
            "gcp.vertex_ai",
            "vertex_ai/gemini-2.5-pro",
        ),
        (
            "anthropic.claude-haiku-4-5-20251001-v1:0",
            None,
            "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
        (
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "aws.bedrock",
            "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
            "bedrock",
            "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
        (
            "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0",
            None,
            "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
        ("claude-haiku-4-5@20991231", "anthropic", "anthropic/claude-haiku-4-5"),
        ("claude-haiku-4-5-latest", None, "anthropic/claude-haiku-4-5"),
        ("text-embedding-3-small", None, "openai/text-embedding-3-small"),
    ],
)
def test_a_model_is_found_by_each_of_its_names(
    shipped: TomlRegistry, name: str, provider: str | None, found: str
) -> None:
    (entry,) = shipped.lookup([(name, provider, NOW)])
    assert entry is not None
    assert f"{entry.facts.provider}/{entry.facts.id}" == found
    assert entry.price is not None
    same = entry.facts.id == name and provider in (None, entry.facts.provider)
    assert entry.facts.alias is not same


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("my-own-model", None),
        ("gpt-4o", "some-reseller"),
        ("openai/gpt-4o", "some-reseller"),
        ("gpt-4o", "anthropic"),
        ("gpt-4", "google"),
        ("gpt-4o-turbo-extra", None),
        ("gpt", None),
        ("", None),
        ("/", None),
        ("openai/", None),
        ("models/", None),
        ("@20240101", None),
        ("2024-01-01", None),
    ],
)
def test_an_unknown_model_has_no_entry(
    shipped: TomlRegistry, name: str, provider: str | None
) -> None:
    assert shipped.lookup([(name, provider, NOW)]) == [None]


def test_shipped_prices_are_those_of_the_source(shipped: TomlRegistry) -> None:
    """USD per million tokens as the providers' public lists have them, in 10^-12 USD a token."""
    (gpt,) = shipped.lookup([("gpt-4o", "openai", NOW)])
    assert gpt is not None
    assert gpt.price is not None
    assert (gpt.price.input, gpt.price.cached, gpt.price.output) == (
        2_500_000,
        1_250_000,
        10_000_000,
    )
    assert gpt.facts.context_window == 128_000
    (gemini,) = shipped.lookup([("gemini-2.5-pro", "google", NOW)])
    assert gemini is not None
    assert gemini.price is not None
    (tier,) = gemini.price.tiers
    assert (tier.above, tier.input, tier.output) == (200_000, 2_500_000, 15_000_000)


def test_answers_stand_in_the_order_of_the_questions(shipped: TomlRegistry) -> None:
    asked = [("gpt-4o", None, NOW), ("nothing", None, NOW), ("gpt-4o-mini", None, NOW)]
    names = [e and e.facts.id for e in shipped.lookup(asked)]
    assert names == ["gpt-4o", None, "gpt-4o-mini"]


OWN = """
version = "own-1"
[providers]
acme = ["acme-ai"]
[[models]]
id = "Falcon"
provider = "acme"
aliases = ["falcon-prime"]
prices = [
    { from = "2026-02-01", input = 1, output = 2 },
    { from = "2026-03-01", version = "own-0", input = 0.5, output = 1.000001, cached = "0.25" },
]
[[models]]
id = "gpt-4o"
provider = "openai"
prices = [{ from = 2026-01-01, input = 9, output = 9 }]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(OWN, "utf-8")
    return path


@pytest.mark.parametrize(
    ("moment", "price"),
    [
        ("2026-01-31T23:59:59", None),
        ("2026-02-01T00:00:00", ("own-1", "2026-02-01", 1_000_000, 2_000_000, None)),
        ("2026-02-28T23:59:59", ("own-1", "2026-02-01", 1_000_000, 2_000_000, None)),
        ("2026-03-01T00:00:00", ("own-0", "2026-03-01", 500_000, 1_000_001, 250_000)),
        ("2099-01-01T00:00:00", ("own-0", "2026-03-01", 500_000, 1_000_001, 250_000)),
    ],
)
def test_the_price_is_that_of_the_time(own: Path, moment: str, price: tuple[object, ...]) -> None:
    (entry,) = TomlRegistry(own).lookup([("falcon", "Acme AI", at(moment))])
    assert entry is not None
    assert entry.facts.family == "Falcon"
    found = entry.price and (
        entry.price.version,
        entry.price.valid_from,
        entry.price.input,
        entry.price.output,
        entry.price.cached,
    )
    assert found == price


def test_an_own_file_adds_and_replaces(own: Path) -> None:
    registry = open_registry(LookupSettings(models=own))
    gpt, falcon, mini = registry.lookup(
        [("gpt-4o", None, NOW), ("falcon-prime", None, NOW), ("gpt-4o-mini", None, NOW)]
    )
    assert gpt is not None
    assert gpt.price is not None
    assert (gpt.price.version, gpt.price.input) == ("own-1", 9_000_000)
    assert falcon is not None
    assert falcon.facts.id == "Falcon"
    assert mini is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1", "version: expected the name of this price list"),
        ("", "version: missing, expected the name of this price list"),
        ("version = = 1", "line 1, column 11: not TOML"),
        ('version = "v"\nmodel = []', "model: no such key; did you mean models?"),
        (
            'version = "v"\n[[models]]\nid = "secret-a"\nprovider = "p"\n'
            '[[models]]\nid = "secret-b"\nprovider = "p"\ncontext_windw = 1',
            "models[2].context_windw: no such key; did you mean context_window?",
        ),
        (
            'version = "v"\n[[models]]\nid = "secret-a"\nprovider = "p"\n'
            'prices = [{ from = "secret", input = 1, output = 1 }]',
            "models[1].prices[1].from: expected a date, YYYY-MM-DD",
        ),
        (
            'version = "v"\n[[models]]\nid = "secret-a"\nprovider = "p"\n'
            'prices = [{ from = "2026-01-01", input = -1, output = 1 }]',
            "models[1].prices[1].input: expected USD per million tokens",
        ),
        (
            'version = "v"\n[[models]]\nid = "secret-a"\nprovider = "p"\n'
            'prices = [{ from = "2026-01-01", input = 0.0000001, output = 1 }]',
            "models[1].prices[1].input: expected USD per million tokens",
        ),
        (
            'version = "v"\n[[models]]\nid = "secret-a"\nprovider = "p"\n'
            'prices = [{ from = "2026-02-01", input = 1, output = 1 },'
            ' { from = "2026-01-01", input = 1, output = 1 }]',
            "models[1].prices: expected each from after the one before",
        ),
        (
            'version = "v"\n[[models]]\nid = "secret-a"\nprovider = "p"\n'
            '[[models]]\nid = "SECRET-A"\nprovider = "P"',
            "models[2]: its name is taken by another model",
        ),
        (
            'version = "v"\n[providers]\na = ["x"]\nb = ["X"]',
            "providers.b: a name of another provider",
        ),
    ],
)
def test_a_bad_file_is_answered_with_place_and_expectation(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(FileError) as caught:
        TomlRegistry(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value).lower()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such file"):
        TomlRegistry(tmp_path / "none.toml")


def test_the_memo_of_names_is_bounded(own: Path) -> None:
    registry = TomlRegistry(own)
    for number in range(25_000):
        registry.lookup([(f"unknown-{number}", None, NOW)])
    assert 0 < len(registry._memo) <= 10_000
    registry.lookup([("x" * 10_000, "y" * 10_000, NOW)])
    assert max(len(name) for name, _ in registry._memo) <= 256
