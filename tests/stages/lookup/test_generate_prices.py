from __future__ import annotations

import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stages.lookup import TomlRegistry, shipped_models
from stages.lookup.generate_prices import MEMBER, family, main

CHAT = {"litellm_provider": "openai", "mode": "chat"}
SOURCE: dict[str, Any] = {
    "gpt-x": {
        **CHAT,
        "max_input_tokens": 1000,
        "max_output_tokens": 100,
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-06,
        "input_cost_per_token_above_200k_tokens": 5e-06,
        "output_cost_per_token_above_200k_tokens": 1.5e-05,
    },
    "gemini/gem-x": {
        "litellm_provider": "gemini",
        "mode": "chat",
        "input_cost_per_token": 1e-07,
        "output_cost_per_token": 4e-07,
    },
    "azure/eu/gpt-x": {
        "litellm_provider": "azure",
        "mode": "chat",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 1e-06,
    },
    "dall-x": {**CHAT, "mode": "image_generation", "input_cost_per_token": 1e-06},
    "no-price": {**CHAT, "input_cost_per_token": 1e-06},
    "too-fine": {**CHAT, "input_cost_per_token": 1.5e-13, "output_cost_per_token": 1e-06},
}


def wheel(folder: Path, version: str, source: dict[str, Any]) -> Path:
    path = folder / f"litellm-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, json.dumps(source))
    return path


def generate(folder: Path, version: str, source: dict[str, Any], *more: str) -> dict[str, Any]:
    target = folder / "models.toml"
    main([str(wheel(folder, version, source)), "--target", str(target), *more])
    TomlRegistry(target)
    return tomllib.loads(target.read_text("utf-8"))


def prices(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (model,) = (m for m in found["models"] if m["id"] == name)
    prices: list[dict[str, Any]] = model["prices"]
    return prices


def test_the_first_list_holds_from_the_beginning(tmp_path: Path) -> None:
    found = generate(tmp_path, "1.0.0", SOURCE)
    assert [model["id"] for model in found["models"]] == ["gpt-x", "gem-x"]
    assert found["version"] == "litellm-1.0.0"
    assert len(found["source"]["sha256"]) == 64
    assert prices(found, "gpt-x") == [
        {
            "from": "2020-01-01",
            "input": 2.5,
            "output": 10.0,
            "cached": 1.25,
            "tiers": [{"above": 200_000, "input": 5.0, "output": 15.0, "cached": 1.25}],
        }
    ]
    assert prices(found, "gem-x") == [{"from": "2020-01-01", "input": 0.1, "output": 0.4}]


def test_a_later_list_only_adds(tmp_path: Path) -> None:
    generate(tmp_path, "1.0.0", SOURCE)
    changed = {**SOURCE, "gpt-x": {**SOURCE["gpt-x"], "input_cost_per_token": 1e-06}}
    del changed["gemini/gem-x"]
    found = generate(tmp_path, "2.0.0", changed, "--from", "2026-12-01")
    first, second = prices(found, "gpt-x")
    assert (first["version"], first["from"], first["input"]) == ("litellm-1.0.0", "2020-01-01", 2.5)
    assert ("version" not in second, second["from"], second["input"]) == (True, "2026-12-01", 1.0)
    assert prices(found, "gem-x")[0]["version"] == "litellm-1.0.0"


def test_the_same_list_again_changes_no_price(tmp_path: Path) -> None:
    first = generate(tmp_path, "1.0.0", SOURCE)
    again = generate(tmp_path, "1.0.0", SOURCE, "--from", "2026-12-01")
    assert again == first


def test_a_file_with_history_needs_the_day(tmp_path: Path) -> None:
    generate(tmp_path, "1.0.0", SOURCE)
    with pytest.raises(SystemExit):
        generate(tmp_path, "2.0.0", SOURCE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("ft:gpt-4o-2024-08-06", "gpt-4o"),
        ("deepseek.v3.2", "deepseek.v3.2"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("Claude-Haiku-4-5@20251001", "claude-haiku-4-5"),
    ],
)
def test_families(name: str, expected: str) -> None:
    assert family(name) == expected


def test_the_shipped_file_names_its_source() -> None:
    found = tomllib.loads(shipped_models().read_text("utf-8"))
    assert found["source"]["package"] == "litellm"
    assert found["source"]["licence"] == "MIT"
    assert len(found["source"]["sha256"]) == 64
    assert found["version"] in found["source"]["wheel"]
    assert shipped_models().stat().st_size < 500_000
