"""The texts that the benchmarks use: real user queries and answers of a language model."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

CHAT = Path("chat/halueval_general.jsonl")
SAMPLE = Path(__file__).resolve().parents[1] / "deploy/sample/events.jsonl"


class Corpus(msgspec.Struct, frozen=True):
    """Distinct non-empty texts, and where they come from."""

    source: str
    texts: tuple[str, ...]

    def pieces(self, length: int, count: int) -> list[str]:
        """``count`` distinct pieces of ``length`` characters: the texts laid end to end, in a new
        order each time round. Raises ValueError where the texts do not give that many."""
        found: dict[str, None] = {}
        for turn in range(1 + 20 * count * length // max(1, sum(map(len, self.texts)))):
            order = list(self.texts)
            random.Random(turn).shuffle(order)
            joined = "\n".join(order)
            for at in range(0, len(joined) - length + 1, length):
                piece = joined[at : at + length]
                # Whitespace at an edge would be cut by the worker, and the text be shorter.
                if len(piece.strip()) == length:
                    found[piece] = None
                if len(found) == count:
                    return list(found)
        raise ValueError(f"the texts give no {count} pieces of {length} characters")


def load(data: Path | None = None) -> Corpus:
    """The chat texts below ``data`` (else below ``$PUBLIC_DATA``), else those of the sample."""
    folder = data or (Path(os.environ["PUBLIC_DATA"]) if os.environ.get("PUBLIC_DATA") else None)
    if folder is not None:
        texts = _chat(folder / CHAT)
        return Corpus(f"{CHAT.name} (HaluEval general: queries and ChatGPT's answers)", _all(texts))
    return Corpus("deploy/sample/events.jsonl", _all(_sample(SAMPLE)))


def _all(texts: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def _chat(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield str(row["user_query"])
            yield str(row["chatgpt_response"])


def _sample(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            body = event.get("prompt") or event.get("response") or {}
            if isinstance(body.get("text"), str):
                yield body["text"]
