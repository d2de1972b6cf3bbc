"""What is said in the sample: public questions and answers, grouped, and the written ones."""

from __future__ import annotations

import json
import math
import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CAST: dict[str, Any] = tomllib.loads(Path(__file__).with_name("cast.toml").read_text("utf-8"))
_MAX_QUESTION, _MAX_ANSWER = 300, 600
_WORD = re.compile(r"[a-z]{4,}")


@dataclass
class Turn:
    """One prompt and its answer; ``more`` are further fields of ``prompt``."""

    prompt: str
    answer: str
    more: dict[str, Any] = field(default_factory=dict)
    documents: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    tool_result: str | None = None


@dataclass
class Talk:
    """A session: its tenant where the words depend on it, and its turns."""

    turns: list[Turn]
    tenant: str | None = None


Pair = tuple[str, str]


def read_pairs(data: Path) -> list[Pair]:
    """Questions and answers of ``chat/halueval_general.jsonl`` that are short enough."""
    pairs = []
    for line in (data / "chat" / "halueval_general.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        question, answer = row["user_query"].strip(), row["chatgpt_response"].strip()
        if 0 < len(question) <= _MAX_QUESTION and 0 < len(answer) <= _MAX_ANSWER:
            pairs.append((question, answer))
    return pairs


def talks(data: Path, dice: random.Random, sessions: int = 36) -> list[Talk]:
    """All sessions, in the order in which they begin."""
    pairs = read_pairs(data)
    dice.shuffle(pairs)
    made = _templated(pairs) + _grouped(pairs, dice, sessions) + _with_documents(pairs, dice)
    popular = [pairs.pop() for _ in range(3)]
    made += [Talk([Turn(*popular[n % 3])]) for n in range(7)]
    written = [
        Talk([Turn(*pair) for pair in talk["turns"]], talk["tenant"])
        for talk in CAST["conversations"]
    ]
    made += written + [_tool_talk(entry) for entry in CAST["tools"]] + _images()
    dice.shuffle(made)
    return made


def _grouped(pairs: list[Pair], dice: random.Random, sessions: int) -> list[Talk]:
    """Sessions of questions with rare words in common."""
    seen = Counter(word for question, _ in pairs for word in _words(question))
    made = []
    for _ in range(sessions):
        first = pairs.pop()
        words = _words(first[0])
        turns = [first]
        for _ in range(dice.choice((2, 3, 3, 4, 5, 6))):
            near = max(pairs, key=lambda p: _likeness(words, _words(p[0]), seen))
            pairs.remove(near)
            turns.append(near)
        made.append(Talk([Turn(*turn) for turn in turns]))
    return made


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _likeness(one: set[str], other: set[str], seen: Counter[str]) -> float:
    return sum(1 / math.log(2 + seen[word]) for word in one & other) / (1 + len(one | other))


def _templated(pairs: list[Pair]) -> list[Talk]:
    """Sessions whose prompts fill a template; the last turn's parameters do not reproduce it."""
    made = []
    for entry in CAST["templates"]:
        template: str = entry["template"]
        name = re.findall(r"{{(\w+)}}", template)[0]
        head, _, tail = template.partition("{{" + name + "}}")
        fitting = [p for p in pairs if p[0].startswith(head) and p[0].endswith(tail)][:6]
        for half in (fitting[:3], fitting[3:]):
            turns = []
            for question, answer in half:
                pairs.remove((question, answer))
                value = question[len(head) : len(question) - len(tail)]
                more = {"template": template, "parameters": {name: value}}
                turns.append(Turn(question, answer, more))
            made.append(Talk(turns))
    made[-1].turns[-1].more["parameters"] = {name: "something else"}
    return made


def _with_documents(pairs: list[Pair], dice: random.Random) -> list[Talk]:
    """Sessions whose answers rest on documents, some of them shared between sessions."""
    shelf = [{"id": f"kb-{100 + n}", "content": pairs.pop()[1][:240]} for n in range(8)]
    made = []
    for _ in range(5):
        turns = []
        for _ in range(2):
            turn = Turn(*pairs.pop())
            chosen = dice.sample(shelf, dice.choice((1, 2, 3)))
            scores = sorted((round(dice.uniform(0.55, 0.97), 3) for _ in chosen), reverse=True)
            turn.documents = [
                {**document, "relevanceScore": score}
                for document, score in zip(chosen, scores, strict=True)
            ]
            turns.append(turn)
        made.append(Talk(turns))
    return made


def _tool_talk(entry: dict[str, Any]) -> Talk:
    asked = Turn(entry["prompt"], "", calls=entry["calls"])
    return Talk(
        [asked, Turn(entry["prompt"], entry["answer"], tool_result=entry["result"])],
        entry["tenant"],
    )


def _images() -> list[Talk]:
    """A prompt that is a picture only, and one with a picture by its address."""
    pixel = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    inline = {"images": [{"base64": pixel, "mimeType": "image/png"}]}
    linked = {"images": [{"url": "https://img.example.com/p/1.jpg", "mimeType": "image/jpeg"}]}
    return [
        Talk([Turn("", "The picture shows a single grey dot.", inline)]),
        Talk(
            [Turn("Write a caption for this picture.", "A quiet morning at the harbour.", linked)]
        ),
    ]
