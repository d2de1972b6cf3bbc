"""The strings of one event, screened: the policy is asked string by string."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from stages.pii.screener import IDENTIFIER, NAMES, PATTERNS, TEXT, Screener
from tests.reference.setup import Setup


def collapse(text: str) -> str:
    return " ".join(text.split())


def text_hash(text: str) -> str:
    return hashlib.sha256(collapse(text).encode()).hexdigest()


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Shown:
    """A screened text; ``says`` is False when it is empty, blank or withheld."""

    text: str
    withheld: bool

    @property
    def says(self) -> bool:
        return not self.withheld and collapse(self.text) != ""

    @property
    def hash(self) -> str:
        return text_hash(self.text)


class Oracle:
    """The personal-data policy; one for all events."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._screener = Screener(setup.patterns, setup.names, setup.pii, setup.pseudonym_key)

    def identifier(self, text: str) -> str:
        """As every event and the directory carry it."""
        answer = self._screener.ask(IDENTIFIER, text)
        self._screener.flush()
        return str(answer.text)

    def event(self, language: str) -> Strings:
        names = language in self._setup.pii.detect.ner_languages and self._setup.names is not None
        return Strings(self._screener, names)


class Strings:
    """Screens one event's strings and counts what is found in them."""

    def __init__(self, screener: Screener, names: bool) -> None:
        self._screener = screener
        self._running = NAMES if names else PATTERNS
        self._single = NAMES if names and screener.rewrites_names else PATTERNS
        self.found: Counter[tuple[str, str]] = Counter()

    def _ask(self, mode: int, text: str, before: str = "") -> Shown:
        answer = self._screener.ask(mode, text, before)
        self._screener.flush()
        self.found.update(answer.marks)
        return Shown(str(answer.text), answer.withheld)

    def text(self, text: str | None) -> Shown:
        return self._ask(self._running + TEXT, text or "")

    def label(self, text: str | None) -> str | None:
        return None if text is None else self._ask(self._single, text).text

    def identifier(self, text: str | None) -> str | None:
        return None if text is None else self._ask(IDENTIFIER, text).text

    def json(self, value: Any, key: str = "") -> Any:
        """A JSON value: keys, strings, JSON in strings, and numbers of seven digits or more."""
        if isinstance(value, dict):
            made: dict[str, Any] = {}
            for name, inner in value.items():
                shown = self.label(name) or ""
                numbered = (f"{shown} {n}" for n in range(2, len(value) + 3))
                made[shown if shown not in made else next(k for k in numbered if k not in made)] = (
                    self.json(inner, name)
                )
            return made
        if isinstance(value, list):
            return [self.json(inner, key) for inner in value]
        if isinstance(value, str):
            return self.string(value, key)
        if isinstance(value, bool) or value is None or abs(value) < 1_000_000:
            return value
        digits = str(int(value)) if value == int(value) else repr(value)
        shown = self._value(digits, key)
        return value if shown == digits else shown

    def string(self, text: str, key: str = "") -> str:
        """A string; JSON in it is screened value by value and written anew."""
        bare = text.strip(" \t\r\n")
        if bare[:1] + bare[-1:] in ("{}", "[]", '""') and len(bare) > 1:
            try:
                inner = json.loads(bare)
            except ValueError:
                return self._value(text, key)
            return json.dumps(self.json(inner, key), ensure_ascii=False, separators=(",", ":"))
        return self._value(text, key)

    def _value(self, text: str, key: str) -> str:
        if key and re.fullmatch(r"[\d\s().+/-]{6,40}", text):
            words = re.sub(r"[_\-.:]+|(?<=[a-z0-9])(?=[A-Z])", " ", key)
            return self._ask(self._single, text, words[:100] + ": ").text
        return self._ask(self._running, text).text
