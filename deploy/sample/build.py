"""Builds the sample from public data: ``python -m deploy.sample.build DATA``.

DATA is a folder with ``chat/halueval_general.jsonl`` (RUCAIBox/HaluEval) and
``traces/azure_llm_conv_2023.csv`` (Azure/AzurePublicDataset). The same input gives the same files:
``events.jsonl`` (what ``memory-graph log append`` routes by shape), ``broken.jsonl`` (lines without
a shape, to append with ``--topic llm.prompts.v1``) and ``directory.toml``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from deploy.sample.faults import broken_lines, disturb
from deploy.sample.schedule import schedule
from deploy.sample.talks import CAST, Talk, Turn, talks
from stages.text.tokens import count_tokens

HERE = Path(__file__).parent
SEED = 20261005
Event = dict[str, Any]


def build(data: Path) -> tuple[list[bytes], list[bytes], str]:
    """The lines of ``events.jsonl`` and ``broken.jsonl``, and the text of ``directory.toml``."""
    dice = random.Random(SEED)  # noqa: S311
    said = talks(data, dice)
    times = schedule(data, said, dice)
    people = _People(dice)
    models = [model for model in CAST["models"] for _ in range(model["share"])]
    dice.shuffle(models)
    events: list[Event] = []
    for number, (talk, moments) in enumerate(zip(said, times, strict=True)):
        cast = people.cast(talk, moments[0])
        session = _Session(number, talk, models[number % len(models)], cast, dice)
        events += session.events(moments)
    events.sort(key=lambda event: event["timestamp"])
    return disturb(events, dice), broken_lines(dice), _directory()


class _People:
    """Who has a session: users in turn, those of the right tenant where the words ask for one."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._users = cycle(CAST["users"])
        self._tenants = {tenant["id"]: tenant for tenant in CAST["tenants"]}

    def cast(self, talk: Talk, start: datetime) -> tuple[Event, str | None]:
        """The session of the event, without its id, and the system message of the application."""
        for user in self._users:
            tenant = None
            for name, *since in user["tenants"]:
                if not since or since[0] <= start.date():
                    tenant = name
            if talk.tenant is None or talk.tenant == tenant:
                break
        session = {"userId": user["id"]}
        if tenant is None:
            return session, None
        entry = self._tenants[tenant]
        session["applicationId"] = self._dice.choice(entry["applications"])
        return session, entry["system"]


class _Session:
    """The events of one session."""

    def __init__(
        self,
        number: int,
        talk: Talk,
        model: Event,
        cast: tuple[Event, str | None],
        dice: random.Random,
    ) -> None:
        session, system = cast
        self._talk = talk
        self._dice = dice
        self._cast_model = model
        self._session = {"id": f"s-{number + 1:03d}", **session, "purpose": "chat"}
        self._sends_history = len(talk.turns) > 1 and dice.random() < 0.7
        self._history = [{"role": "system", "content": system}] if system else []
        self._names_itself = dice.random() < 0.15
        self._model: Event = {
            "id": self._cast_model["id"],
            "provider": self._cast_model["provider"],
        }
        if dice.random() < 0.5:
            self._model["parameters"] = {
                "temperature": dice.choice((0, 0.2, 0.7, 1.0)),
                "maxTokens": dice.choice((512, 1024)),
            }

    def events(self, times: list[datetime]) -> Iterator[Event]:
        lifecycle = self._dice.random() < 0.15
        if lifecycle:
            yield self._state(times[0] - timedelta(milliseconds=150), "active")
        last = times[0]
        for turn, at in zip(self._talk.turns, times, strict=True):
            prompt = self._prompt(turn, at)
            yield prompt
            response, last = self._response(turn, prompt, at)
            yield response
            self._remember(turn)
        if lifecycle:
            status = self._dice.choice(("completed", "completed", "failed"))
            ended = {"startedAt": _stamp(times[0]), "endedAt": _stamp(last)}
            yield self._state(last + timedelta(seconds=30), status) | ended

    def _state(self, at: datetime, status: str) -> Event:
        return self._head(at) | {"session": self._session, "status": status}

    def _head(self, at: datetime) -> Event:
        return {"eventId": uuid(self._dice), "timestamp": _stamp(at)}

    def _prompt(self, turn: Turn, at: datetime) -> Event:
        body = {"text": turn.prompt, **turn.more}
        if self._dice.random() < 0.2:
            body["metadata"] = {"channel": self._dice.choice(("web", "mobile")), "experiment": "b"}
        event = self._head(at) | {"prompt": body, "session": self._session, "model": self._model}
        context: Event = {}
        if (self._sends_history or turn.tool_result) and self._history:
            context["conversationHistory"] = list(self._history)
        if turn.documents:
            context |= {"documents": turn.documents, "retrievalMethod": "hybrid"}
        if context:
            event["context"] = context
        if self._dice.random() < 0.25:
            event["tags"] = self._dice.sample(("prod", "beta", "vip", "europe"), 2)
        if self._dice.random() < 0.3:
            event["traceContext"] = {
                "traceId": f"{self._dice.getrandbits(128):032x}",
                "spanId": f"{self._dice.getrandbits(64):016x}",
            }
        return event

    def _response(self, turn: Turn, prompt: Event, at: datetime) -> tuple[Event, datetime]:
        usage = self._usage(turn, prompt)
        ttft = self._dice.randrange(180, 900)
        latency = ttft + 1000 * usage["completionTokens"] // self._cast_model["tokens_a_second"]
        done = at + timedelta(milliseconds=latency)
        event = self._head(done) | {
            "promptEventId": prompt["eventId"],
            "response": self._answer(turn),
            "usage": usage,
            "metrics": {"latency": latency, "ttft": ttft},
        }
        if self._names_itself:
            event |= {"session": self._session, "model": self._model}
        if "traceContext" in prompt:
            span = {"parentSpanId": prompt["traceContext"]["spanId"]}
            event["traceContext"] = {**prompt["traceContext"], **span}
        return event, done

    def _answer(self, turn: Turn) -> Event:
        if not turn.calls:
            return {"text": turn.answer, "finishReason": "stop"}
        calls = [
            {"id": f"call_{self._dice.getrandbits(64):016x}", "type": "function", "function": call}
            for call in turn.calls
        ]
        return {"text": "", "finishReason": "tool_calls", "toolCalls": calls}

    def _usage(self, turn: Turn, prompt: Event) -> dict[str, int]:
        """Tokens as a provider would bill them: four a message for the format of the chat."""
        context = prompt.get("context", {})
        read = [turn.prompt, *(d["content"] for d in context.get("documents", ()))]
        read += [m["content"] for m in context.get("conversationHistory", ())]
        written = turn.answer + "".join(call["arguments"] for call in turn.calls)
        asked = sum(self._tokens(text) + 4 for text in read)
        if "images" in turn.more:
            asked += 255
        spoken = self._tokens(written) + 2
        usage = {"promptTokens": asked, "completionTokens": spoken}
        if self._cast_model.get("reasoning"):
            usage["reasoningTokens"] = 64 * self._dice.randrange(1, 9)
            usage["completionTokens"] += usage["reasoningTokens"]
        if self._cast_model["provider"] == "openai" and asked > 160:
            usage["cachedTokens"] = asked // 128 * 64
        usage["totalTokens"] = usage["promptTokens"] + usage["completionTokens"]
        return usage

    def _tokens(self, text: str) -> int:
        return count_tokens(text, self._cast_model["id"], self._cast_model["provider"]).tokens

    def _remember(self, turn: Turn) -> None:
        self._history.append({"role": "user", "content": turn.prompt})
        if turn.calls:
            results = [t.tool_result for t in self._talk.turns if t.tool_result]
            self._history.append({"role": "tool", "content": results[0]})
        else:
            self._history.append({"role": "assistant", "content": turn.answer})
        system = self._history[:1] if self._history[0]["role"] == "system" else []
        self._history = system + self._history[len(system) :][-4:]


def uuid(dice: random.Random) -> str:
    """A UUID of version 4 from the dice."""
    bits = dice.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (4 << 76) | (2 << 62)
    text = f"{bits:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _directory() -> str:
    organisations = {tenant["id"]: tenant["organisation"] for tenant in CAST["tenants"]}
    lines = ["# Users of the sample: to which tenant each belongs, and from when.\n"]
    for user in CAST["users"]:
        for tenant, *since in user["tenants"]:
            lines.append("[[users]]")
            lines.append(f"id = {json.dumps(user['id'])}")
            lines.append(f"tenant = {json.dumps(tenant)}")
            lines.append(f"organisation = {json.dumps(organisations[tenant])}")
            lines.append(f"from = {since[0] if since else '2026-01-01'}\n")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the sample from public data.")
    parser.add_argument("data", type=Path, help="the folder of the public data")
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go")
    options = parser.parse_args()
    events, broken, directory = build(options.data)
    (options.out / "events.jsonl").write_bytes(b"\n".join(events) + b"\n")
    (options.out / "broken.jsonl").write_bytes(b"\n".join(broken) + b"\n")
    (options.out / "directory.toml").write_text(directory, encoding="utf-8")


if __name__ == "__main__":
    main()
