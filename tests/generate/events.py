"""The events of the generated log: what is said, by whom, about what."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

MODELS = (
    ("gpt-4o", "openai"),
    ("gpt-4o-mini", "openai"),
    ("openai/gpt-4o", None),
    ("claude-sonnet-4-5-20250929", "anthropic"),
    ("models/gemini-2.5-flash", "google"),
    ("no-such-model", "nobody"),
    ("no-such-model", None),
)
_WORDS = """
please explain how the river delta forms when summer rain meets an early tide and what a farmer
near the coast should plant before the first storm of the season comes over the hills list three
reasons why the old bridge was closed and name who decides about money for repair write a short poem
about winter light on a quiet harbour with boats that nobody has used compare two ways to store
potatoes in a cellar and say which keeps them fresh for longer
""".split()  # noqa: SIM905
_PERSONAL = (
    "my mail is {name}@example.org",
    "call +1 202-555-0{three}",
    "card 4111 1111 1111 1111",
    "from 192.0.2.{three}",
    "IBAN DE89 3704 0044 0532 0130 00",
)
NAMES = ("ana", "jonas", "li", "priya", "tom", "zoe")
HOUR = 3_600_000


class Events:
    """Makes events as JSON objects. Times are log times in ms."""

    def __init__(self, dice: random.Random, users: list[str]) -> None:
        self._dice = dice
        self._users = users
        self._sentences = [self._sentence() for _ in range(2_000)]
        self._documents = [(f"doc-{n}", dice.choice(self._sentences)) for n in range(60)]
        self._histories: dict[str, list[dict[str, str]]] = {}

    def prompt(self, session: dict[str, Any], now: int) -> dict[str, Any]:
        dice = self._dice
        text = dice.choice(self._sentences)
        body: dict[str, Any] = {"text": text}
        if dice.random() < 0.1:
            given = {"topic": dice.choice(_WORDS), "count": dice.randrange(9)}
            body = {
                "text": f"Tell me {given['count']} things about {given['topic']}.",
                "template": "Tell me {{count}} things about {{topic}}.",
                "parameters": given if dice.random() < 0.8 else {"topic": "else"},
            }
        if dice.random() < 0.02:
            body = {"text": dice.choice(("", text)), "images": [{"base64": "aGVsbG8="}]}
        if dice.random() < 0.1:
            body["metadata"] = {
                "channel": "web",
                "contact": dice.choice(self._users),
                "raw": json.dumps({"n": dice.randrange(5), "mail": "li@example.org"}),
                "order": dice.randrange(10**7),
            }
        event = self._head(now) | {"prompt": body, "session": session, "model": self._model()}
        context = self._context(session, text)
        if context:
            event["context"] = context
        return event | self._extras()

    def response(self, prompt: dict[str, Any], session: dict[str, Any], now: int) -> dict[str, Any]:
        dice = self._dice
        body = self._answer()
        self._histories.setdefault(session["id"], []).append(
            {"role": "assistant", "content": body.get("text") or ""}
        )
        event = self._head(now + 700)
        event |= {"promptEventId": prompt["eventId"], "response": body}
        if dice.random() < 0.9:
            event["usage"] = self._usage()
        if dice.random() < 0.8:
            event["metrics"] = {"latency": dice.randrange(9000), "ttft": 90.0, "throughput": 31}
        if dice.random() < 0.02:
            event["error"] = {"code": "500", "message": "mail li@example.org", "recoverable": True}
        if dice.random() < 0.15:
            event |= {"session": session, "model": self._model()}
        return event | self._extras()

    def state(self, session: dict[str, Any], now: int) -> dict[str, Any]:
        dice = self._dice
        status = dice.choice(("active", "completed", "failed", "archived"))
        event = self._head(now) | {"session": session, "status": status}
        if dice.random() < 0.5:
            event |= {"startedAt": stamp(now - HOUR, 0), "metadata": {"by": "tom@example.net"}}
        if dice.random() < 0.3:
            event |= {"endedAt": stamp(now, 5), "tags": ["t", "u"]}
        return event

    def _answer(self) -> dict[str, Any]:
        dice = self._dice
        reason = dice.choice(("stop", "stop", "odd"))
        body: dict[str, Any] = {"text": dice.choice(self._sentences), "finishReason": reason}
        if dice.random() < 0.06:
            body = dice.choice(({}, {"text": ""}, {"text": None, "finishReason": "error"})).copy()
        if dice.random() < 0.06:
            arguments = json.dumps({"q": dice.choice(self._sentences), "to": "zoe@example.org"})
            call = {"name": "lookup", "arguments": arguments}
            body["toolCalls"] = [{"id": "call_1", "type": "function", "function": call}] * 2
        elif dice.random() < 0.02:
            body["functionCall"] = {"name": "sum", "arguments": "not json {"}
        return body

    def _head(self, now: int) -> dict[str, Any]:
        dice = self._dice
        late = dice.choice((0, 0, 0, 37, 900, 2_000, 600_000))
        return {"eventId": self._uuid(), "timestamp": stamp(now - late, dice.randrange(1000))}

    def _uuid(self) -> str:
        digits = f"{self._dice.getrandbits(128):032x}"
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        text = "-".join(parts)
        return text.upper() if self._dice.random() < 0.05 else text

    def _sentence(self) -> str:
        dice = self._dice
        words = [dice.choice(_WORDS) for _ in range(dice.randrange(4, 40))]
        if dice.random() < 0.2:
            words.append(str(dice.randrange(1, 5000)))
        text = " ".join(words).capitalize() + dice.choice(
            (".", "?", "!", "…", " e\u0301\r\n", "  ")
        )
        if dice.random() < 0.2:
            form = dice.choice(_PERSONAL)
            text += " " + form.format(name=dice.choice(NAMES), three=dice.randrange(100, 200))
        return text

    def _model(self) -> dict[str, Any]:
        dice = self._dice
        name, provider = dice.choice(MODELS)
        model: dict[str, Any] = {"id": name}
        if provider is not None:
            model["provider"] = provider
        if dice.random() < 0.3:
            model |= {"version": "v2", "parameters": {"temperature": 1, "maxTokens": 256.0}}
        return model

    def _context(self, session: dict[str, Any], text: str) -> dict[str, Any]:
        dice = self._dice
        history = self._histories.setdefault(session["id"], [])
        context: dict[str, Any] = {}
        if history and dice.random() < 0.5:
            context["conversationHistory"] = list(history[-6:])
        history.append({"role": "user", "content": text})
        if dice.random() < 0.08:
            documents: list[dict[str, Any]] = [
                {"id": name, "content": content, "relevanceScore": dice.randrange(100) / 100}
                for name, content in dice.choices(self._documents, k=dice.randrange(1, 4))
            ]
            documents.append({"content": dice.choice(self._sentences)})
            method = dice.choice(("hybrid", "sparse"))
            context |= {"documents": documents, "retrievalMethod": method}
        return context

    def _extras(self) -> dict[str, Any]:
        dice = self._dice
        extras: dict[str, Any] = {}
        if dice.random() < 0.2:
            extras["tags"] = dice.sample(("prod", "beta", "vip", "tom@example.net"), 2)
        if dice.random() < 0.2:
            extras["traceContext"] = {"traceId": f"{dice.getrandbits(128):032x}", "spanId": "1"}
        if dice.random() < 0.05:
            extras["unknownField"] = {"x": 1}
        return extras

    def _usage(self) -> dict[str, Any]:
        dice = self._dice
        asked, spoken = dice.randrange(1, 3000), dice.randrange(400)
        usage = {"promptTokens": asked, "completionTokens": spoken, "totalTokens": asked + spoken}
        if dice.random() < 0.2:
            usage |= {"cachedTokens": asked // 2, "reasoningTokens": spoken // 3}
        if dice.random() < 0.02:
            usage["cachedTokens"] = asked + 1
        return usage


def stamp(ms: int, micro: int) -> str:
    """The moment as RFC 3339 with microseconds."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms, microseconds=micro)
    return at.isoformat().replace("+00:00", "Z")
