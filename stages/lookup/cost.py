"""What a response cost, in whole 10⁻¹² USD."""

from __future__ import annotations

from schemas.items import Cost, UsageFacts
from schemas.ports import Price, Tier

TOKEN_SOURCE = "provider"
"""Billed tokens are the provider's own usage figures, never a count of ours."""

MAX_PICO_USD = (1 << 63) - 1

NONE = Cost("none")
LACKING = Cost("lacking", token_source=TOKEN_SOURCE)
UNPRICED = Cost("unpriced", token_source=TOKEN_SOURCE)
INCONSISTENT = Cost("inconsistent", token_source=TOKEN_SOURCE)


def cost_of(usage: UsageFacts | None, price: Price | None) -> Cost:
    """The cost of a response's billed tokens at a price; exact, as all prices are integers.

    Prompt tokens include cached and cache-write tokens, completion tokens include reasoning:
    (prompt - cached - cache write) × input + cached × cached price + cache write × its price
    + (completion - reasoning) × output + reasoning × its price. A part without a price of its own
    costs what the whole does. A prompt above a tier's threshold has all tokens at that tier.
    ``inconsistent``: parts are larger than the whole, or the sum is beyond 64 bits.
    """
    if usage is None:
        return NONE
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    spoken = usage.completion_tokens - usage.reasoning_tokens
    if fresh < 0 or spoken < 0:
        return INCONSISTENT
    if usage.prompt_tokens + usage.completion_tokens > usage.total_tokens:
        return INCONSISTENT
    if price is None:
        return UNPRICED
    rates = _rates(price, usage.prompt_tokens)
    pico = (
        fresh * rates.input
        + usage.cached_tokens * (rates.input if rates.cached is None else rates.cached)
        + usage.cache_write_tokens
        * (rates.input if rates.cache_write is None else rates.cache_write)
        + spoken * rates.output
        + usage.reasoning_tokens * (rates.output if rates.reasoning is None else rates.reasoning)
    )
    if pico > MAX_PICO_USD:
        return INCONSISTENT
    return Cost("priced", pico, price.version, price.valid_from, TOKEN_SOURCE)


def _rates(price: Price, prompt_tokens: int) -> Price | Tier:
    for tier in reversed(price.tiers):
        if prompt_tokens > tier.above:
            return tier
    return price
