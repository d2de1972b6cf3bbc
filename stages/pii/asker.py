"""What one event asks: how each sort of string is read, and what was found in all of them."""

from __future__ import annotations

import re
from collections import Counter

from schemas.items import Finding, ModelRef, Screened
from stages.pii.cache import Generations
from stages.pii.screener import IDENTIFIER, NAMES, PATTERNS, TEXT, Answer, Screener

_BARE_NUMBER = re.compile(r"[\d\s().+/-]{6,40}")
_WORD_BORDER = re.compile(r"[_\-.:]+|(?<=[a-z0-9])(?=[A-Z])")


class Asker:
    """Asks a screener for the strings of one event. ``names``: whether names are sought in it."""

    __slots__ = (
        "_ask",
        "_known_identifier",
        "_known_label",
        "_known_value",
        "_label_mode",
        "_value_mode",
        "answers",
        "models",
    )

    def __init__(
        self, screener: Screener, models: Generations[bytes, ModelRef], *, names: bool
    ) -> None:
        names = names and screener.reads_names
        self._ask = screener.ask
        self._value_mode = NAMES if names else PATTERNS
        self._label_mode = NAMES if names and screener.rewrites_names else PATTERNS
        # Most short strings were seen a moment ago: these find them at the price of a lookup.
        self._known_value = screener.short[self._value_mode].young
        self._known_label = screener.short[self._label_mode].young
        self._known_identifier = screener.short[IDENTIFIER].young
        self.models = models
        self.answers: list[Answer] = []

    def text(self, text: str) -> Answer:
        """Running text: patterns and, in this event's language, names."""
        answer = self._ask(self._value_mode + TEXT, text)
        self.answers.append(answer)
        return answer

    def label(self, text: str) -> Answer:
        """A tag, key, code or model name: patterns. Names only where a policy rewrites them, since
        a flag on a single word out of its sentence says little."""
        answer = self._known_label(text) or self._ask(self._label_mode, text)
        self.answers.append(answer)
        return answer

    def identifier(self, text: str) -> Answer:
        """An identifier: as it is, or a pseudonym when a pattern matches."""
        answer = self._known_identifier(text) or self._ask(IDENTIFIER, text)
        self.answers.append(answer)
        return answer

    def value(self, text: str, key: str = "") -> Answer:
        """A value from a JSON object. A bare number is read together with its key, because only
        the key tells a telephone number from an order number."""
        if key and _BARE_NUMBER.fullmatch(text):
            before = _WORD_BORDER.sub(" ", key[:100]) + ": "
            answer = self._ask(self._label_mode, text, before)
        else:
            answer = self._known_value(text) or self._ask(self._value_mode, text)
        self.answers.append(answer)
        return answer

    def label_or_none(self, text: str | None) -> Answer | None:
        return None if text is None else self.label(text)

    def identifier_or_none(self, text: str | None) -> Answer | None:
        return None if text is None else self.identifier(text)

    def findings(self) -> tuple[Finding, ...]:
        """How often each entity was found and what was done, over the whole event, sorted."""
        marks = [mark for answer in self.answers for mark in answer.marks]
        if not marks:
            return ()
        counts = Counter(marks)
        return tuple(Finding(entity, action, n) for (entity, action), n in sorted(counts.items()))


def text_of(answer: Answer | None) -> Screened | None:
    """The screened string of an optional answer."""
    return None if answer is None else answer.text
