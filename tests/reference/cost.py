"""The cost of a response, from the tokens that the provider billed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from schemas.ports import Price, Tier
from tests.reference.facts import Facts


def cost_of(fact: Facts, joined: Facts, price: Price | None) -> dict[str, Any]:
    """Status and, where priced, the amount in 10⁻¹² USD and whose price it is."""
    usage = fact.get("usage")
    if usage is None:
        return {"status": "none"}
    if joined["model"] is None:
        status = "lacking" if joined["state"] == "waiting" else "unpriced"
        return {"status": status, "source": "provider"}
    fresh = usage["promptTokens"] - usage["cachedTokens"] - usage["cacheWriteTokens"]
    said = usage["completionTokens"] - usage["reasoningTokens"]
    parts = usage["promptTokens"] + usage["completionTokens"]
    if fresh < 0 or said < 0 or parts > usage["totalTokens"]:
        return {"status": "inconsistent", "source": "provider"}
    if price is None:
        return {"status": "unpriced", "source": "provider"}
    rates = _rates(price, usage["promptTokens"])
    pico = sum(
        Decimal(tokens) * Decimal(base if own is None else own)
        for tokens, own, base in (
            (fresh, rates.input, rates.input),
            (usage["cachedTokens"], rates.cached, rates.input),
            (usage["cacheWriteTokens"], rates.cache_write, rates.input),
            (said, rates.output, rates.output),
            (usage["reasoningTokens"], rates.reasoning, rates.output),
        )
    )
    return {
        "status": "priced",
        "source": "provider",
        "pico": int(pico),
        "version": price.version,
        "from": price.valid_from,
    }


def _rates(price: Price, prompt_tokens: int) -> Price | Tier:
    reached = [tier for tier in price.tiers if prompt_tokens > tier.above]
    return max(reached, key=lambda tier: tier.above) if reached else price
