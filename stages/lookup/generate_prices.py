"""Makes ``data/models.toml`` from the price list inside a pinned litellm wheel (MIT).

    pip download --no-deps litellm==1.109.1
    python -m stages.lookup.generate_prices litellm-1.109.1-*.whl

The source has no history. The first list therefore holds from ``FIRST``; when the file is made
anew from a later wheel, ``--from DATE`` says from when its prices hold, prices that changed are
added, and nothing that stood there is changed or removed: old events keep their cost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from stages.lookup.names import variants
from stages.lookup.prices import PICO_PER_MILLION

MEMBER = "litellm/model_prices_and_context_window_backup.json"
TARGET = Path(__file__).parent / "data" / "models.toml"
FIRST = "2020-01-01"
MODES = frozenset({"chat", "completion", "embedding", "responses"})


class Provider(NamedTuple):
    """One of ours: the source's names for it, a prefix of its ids there, and its other names."""

    sources: tuple[str, ...]
    prefix: str
    names: tuple[str, ...]


# In the order in which a model named without its provider is looked for.
PROVIDERS: dict[str, Provider] = {
    "openai": Provider(("openai", "text-completion-openai"), "openai/", ("open_ai",)),
    "anthropic": Provider(("anthropic",), "anthropic/", ("claude",)),
    "google": Provider(
        ("gemini",),
        "gemini/",
        ("gemini", "google_ai", "google_ai_studio", "google_genai", "gcp_gemini", "gcp_gen_ai"),
    ),
    "mistral": Provider(("mistral",), "mistral/", ("mistralai", "mistral_ai")),
    "deepseek": Provider(("deepseek",), "deepseek/", ("deepseek_ai",)),
    "cohere": Provider(("cohere", "cohere_chat"), "cohere/", ("cohere_chat",)),
    "xai": Provider(("xai",), "xai/", ("x_ai", "grok")),
    "groq": Provider(("groq",), "groq/", ()),
    "vertex_ai": Provider(
        (
            "vertex_ai-language-models",
            "vertex_ai",
            "vertex_ai-anthropic_models",
            "vertex_ai-mistral_models",
            "vertex_ai-llama_models",
            "vertex_ai-embedding-models",
        ),
        "vertex_ai/",
        ("vertex", "vertexai", "google_vertex", "google_vertexai", "gcp_vertex_ai", "gcp"),
    ),
    "azure": Provider(
        ("azure",), "azure/", ("azure_openai", "azureopenai", "azure_ai_openai", "az_ai_openai")
    ),
    "bedrock": Provider(
        ("bedrock_converse", "bedrock"),
        "bedrock/",
        ("aws_bedrock", "amazon_bedrock", "bedrock_converse", "aws", "amazon"),
    ),
}

RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
}
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_REGION = re.compile(r"(?:us-gov|us|eu|apac|global|au|jp|in|ca)\.")
_VENDOR = re.compile(r"^[a-z0-9]+\.(?=[a-z]{3})")
_NOT_TEXT = re.compile(r"lyria|audio|-tts|image|robotics|multimodal|computer-use|prompt-guard|omni")
_REVISION = re.compile(r"-v\d+(:\d+)?$")

Row = dict[str, Any]


def models_of(prices: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Row]]:
    """Provider, id and row of every model that is ours to list, providers in our order."""
    for provider, (sources, prefix, _) in PROVIDERS.items():
        found: dict[str, Row] = {}
        for source in sources:
            for key, entry in prices.items():
                if entry.get("litellm_provider") != source or entry.get("mode") not in MODES:
                    continue
                name = key.removeprefix(prefix)
                if _NOT_TEXT.search(name):
                    continue
                # Regional and reserved variants have a path of their own before the name.
                if provider in ("azure", "bedrock", "google") and "/" in name:
                    continue
                row = _row(name, entry)
                if row is not None and name.lower() not in {n.lower() for n in found}:
                    found[name] = row
        for name in sorted(found):
            yield provider, name, found[name]


def _row(name: str, entry: Mapping[str, Any]) -> Row | None:
    """None without both an input and an output price, or with one finer than 10⁻¹² USD."""
    rates = _rates(entry, "")
    if rates is None:
        return None
    tiers = []
    for thousands in sorted(int(m[1]) for m in map(_ABOVE.fullmatch, entry) if m):
        tier = _rates(entry, f"_above_{thousands}k_tokens", rates)
        if tier is not None:
            tiers.append({"above": thousands * 1000, **tier})
    row: Row = {}
    if family(name) != name:
        row["family"] = family(name)
    for ours, theirs in (
        ("context_window", "max_input_tokens"),
        ("max_output_tokens", "max_output_tokens"),
    ):
        if isinstance(entry.get(theirs), int) and entry[theirs] > 0:
            row[ours] = entry[theirs]
    row["price"] = {**rates, **({"tiers": tiers} if tiers else {})}
    return row


def _rates(
    entry: Mapping[str, Any], suffix: str, base: Mapping[str, Decimal] | None = None
) -> dict[str, Decimal] | None:
    """In USD per million tokens; a tier without a price of its own keeps the base's."""
    rates = dict(base or {})
    for ours, theirs in RATES.items():
        value = entry.get(theirs + suffix)
        if value is not None:
            rates[ours] = Decimal(value) * 1_000_000
    exact = all(r >= 0 and r * PICO_PER_MILLION % 1 == 0 for r in rates.values())
    return rates if exact and "input" in rates and "output" in rates else None


def family(name: str) -> str:
    """The name without path, region, vendor, date and revision."""
    name = name.lower().rpartition("/")[2]
    name = _VENDOR.sub("", _REGION.sub("", name, count=1), count=1)
    name = _REVISION.sub("", name).removeprefix("ft:")
    *_, (shortest, _) = variants(name, lambda _: None)
    return shortest


def merge(old: list[Row], new: list[Row], version: str, since: str) -> list[Row]:
    """``new`` rows with the history of ``old`` ones; what the source dropped stays."""
    known = {(row["provider"], row["id"]): row for row in old}
    merged = []
    for row in new:
        price = row.pop("price")
        before = known.pop((row["provider"], row["id"]), None)
        history = before["prices"] if before else []
        latest = {k: v for k, v in history[-1].items() if k not in _DATING} if history else None
        if latest != price:
            start = since if old else FIRST
            history = [*history, {"from": start, "version": version, **price}]
        merged.append({**row, "prices": history})
    return merged + list(known.values())


_DATING = ("from", "version")


def render(rows: list[Row], wheel: Path, digest: str, version: str) -> str:
    """The file's text."""
    lines = [
        f"# Made by python -m {__spec__.name if __spec__ else __name__} from {MEMBER}",
        f"# in {wheel.name}. Prices are USD per million tokens.",
        "# litellm: Copyright (c) 2023 Berri AI, MIT licence; see NOTICE.",
        "",
        f"version = {_toml(version)}",
        "",
        "[source]",
        'package = "litellm"',
        f"wheel = {_toml(wheel.name)}",
        f"sha256 = {_toml(digest)}",
        f"member = {_toml(MEMBER)}",
        'licence = "MIT"',
        "",
        "[providers]",
        *(f"{name} = {_toml(list(p.names))}" for name, p in PROVIDERS.items()),
    ]
    for row in rows:
        lines.append("\n[[models]]")
        lines += [f"{key} = {_toml(value)}" for key, value in row.items() if key != "prices"]
        prices = [
            {k: v for k, v in price.items() if k != "version" or v != version}
            for price in row["prices"]
        ]
        lines.append(f"prices = {_toml(prices)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Decimal):
        text = format(value.normalize(), "f")
        return text if "." in text else f"{text}.0"
    return json.dumps(value) if isinstance(value, str) else str(value)


def _history(target: Path) -> list[Row]:
    """The rows of the file as it stands, each price with the version it came with."""
    if not target.exists():
        return []
    found = tomllib.loads(target.read_text("utf-8"), parse_float=Decimal)
    for row in found["models"]:
        row["prices"] = [{"version": found["version"], **price} for price in row["prices"]]
    rows: list[Row] = found["models"]
    return rows


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--from", dest="since", help="the day from which changed prices hold")
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    digest = hashlib.sha256(options.wheel.read_bytes()).hexdigest()
    version = "-".join(options.wheel.name.split("-")[:2])
    with zipfile.ZipFile(options.wheel) as archive:
        prices = json.loads(archive.read(MEMBER), parse_float=Decimal)
    new = [{"id": name, "provider": p, **row} for p, name, row in models_of(prices)]
    old = _history(options.target)
    if old and options.since is None:
        parser.error("the file exists: say with --from from which day changed prices hold")
    rows = merge(old, new, version, options.since or FIRST)
    options.target.write_text(render(rows, options.wheel, digest, version), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
