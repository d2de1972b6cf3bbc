"""Byte-pair encodings as counters of tokens."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Literal

from schemas.failures import UserError

EncodingName = Literal["cl100k_base", "o200k_base"]
Count = Callable[[str], int]

# tiktoken names a cached rank file by the SHA-1 of the address it comes from.
_RANK_FILES: Final = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}


class EncodingUnavailable(UserError):
    """Neither rs_bpe nor tiktoken with its rank files is installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The token encoding {name} is not installed. Install it with `make install`, or point "
            "TIKTOKEN_CACHE_DIR to a folder with tiktoken's rank files."
        )


@cache
def counter(name: EncodingName) -> Count:
    """Counts the tokens of a text in this encoding. Loaded at first use (0.1 s), then kept.

    What looks like a special token is ordinary text. Linear in the text's length. Raises
    :class:`EncodingUnavailable`.
    """
    try:
        return rs_bpe_counter(name)
    except ImportError:
        return tiktoken_counter(name)


def rs_bpe_counter(name: EncodingName) -> Count:
    """By rs_bpe. Raises ImportError where it has no wheel."""
    from rs_bpe.bpe import openai

    count: Count = getattr(openai, name)().count
    return count


def tiktoken_counter(name: EncodingName) -> Count:
    """By tiktoken, from its cache folder only: it would download the ranks otherwise."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    if folder is None or not (Path(folder) / _RANK_FILES[name]).is_file():
        raise EncodingUnavailable(name)
    import tiktoken

    encode = tiktoken.get_encoding(name).encode_ordinary
    return lambda text: len(encode(text))
