"""Every string of a chunk goes through here: seen before, or scanned in one batch with the others.

A caller *asks* for each string and gets an :class:`Answer` that holds nothing yet or is known from
before; after :meth:`Screener.flush` all answers are there.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from typing import Protocol

from schemas.items import WITHHELD, Screened
from stages.pii.cache import Generations
from stages.pii.detect.spans import NAME_ENTITIES, Span
from stages.pii.identifiers import PSEUDONYM, pseudonym
from stages.pii.images import data_urls
from stages.pii.redaction import Mark, redact
from stages.pii.settings import PiiSettings
from stages.pii.views import decoded
from stages.pii.windows import detect_all
from stages.text.normal import normalise, text_hash

PATTERNS, NAMES, TEXT, IDENTIFIER = 0, 1, 2, 4
"""How a string is read: for patterns, or for ``NAMES`` as well; ``TEXT`` is added for running text,
whose line ends and trailing blanks are normalised. An identifier is kept to the letter."""

_SHORT = 128
_ROUNDS = 8


class Detector(Protocol):
    """Finds spans: one tuple a text, in order. Knows nothing of policies and keeps no text."""

    def detect(self, texts: Sequence[str], /) -> Sequence[tuple[Span, ...]]: ...


class Answer:
    """A screened string, what was found in it, and whether a ``drop`` policy took it."""

    __slots__ = ("_hash", "marks", "text", "withheld")

    def __init__(self, text: str = "") -> None:
        self.text = Screened(text)
        self.marks: tuple[Mark, ...] = ()
        self.withheld = False
        self._hash: str | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of the collapsed screened text."""
        if self._hash is None:
            self._hash = text_hash(self.text)
        return self._hash


class _Pending:
    """A string to scan: ``before`` is read with it (the key of a bare number), but not kept."""

    __slots__ = ("answer", "before", "mode", "text")

    def __init__(self, mode: int, before: str, text: str, answer: Answer) -> None:
        self.mode = mode
        self.before = before
        self.text = text
        self.answer = answer


class Screener:
    """Screens strings by the policy of ``settings``; what it keeps in memory is bounded.

    Texts seen before are known by a hash keyed with a random key of this object; short strings
    are kept as they are only when nothing was found in them.
    """

    def __init__(
        self,
        patterns: Detector,
        names: Detector | None,
        settings: PiiSettings,
        pseudonym_key: bytes,
    ) -> None:
        self._patterns = patterns
        self._names = names
        self._action = settings.policies.action
        self._pseudonym_key = pseudonym_key
        self.reads_names = names is not None
        self.rewrites_names = self.reads_names and any(
            settings.policies.action(entity) != "flag" for entity in NAME_ENTITIES
        )
        self.short: tuple[Generations[str, Answer], ...] = tuple(
            Generations(settings.cache_strings) for _ in range(5)
        )
        self._long: Generations[bytes, Answer] = Generations(
            settings.cache_characters, lambda answer: len(answer.text) + 200
        )
        key = os.urandom(32)
        self._hashers = [
            hashlib.blake2b(digest_size=16, key=key, person=bytes([mode])) for mode in range(5)
        ]
        self._pending: dict[tuple[int, str, str] | bytes, _Pending] = {}
        self.asked = 0
        self.scanned = 0

    def ask(self, mode: int, text: str, before: str = "") -> Answer:
        """The answer for ``text``, filled at the latest by the next :meth:`flush`."""
        key: tuple[int, str, str] | bytes
        if len(text) <= _SHORT:
            if not before and (known := self.short[mode].get(text)) is not None:
                return known
            key = (mode, before, text)
        else:
            hasher = self._hashers[mode].copy()
            hasher.update(text.encode())
            key = hasher.digest()
            known = self._long.get(key)
            if known is not None:
                return known
        waiting = self._pending.get(key)
        if waiting is None:
            waiting = self._pending[key] = _Pending(mode, before, text, Answer())
        return waiting.answer

    @property
    def hit_rate(self) -> float:
        """The share of strings asked for that had not to be scanned."""
        return 1 - self.scanned / self.asked if self.asked else 0.0

    def discard(self) -> None:
        """Forgets what was asked and not flushed."""
        self._pending.clear()

    def flush(self) -> None:
        """Scan what was asked: one call of each detector over all of it, and again over what
        was rewritten, until nothing more is found; a text that does not settle is withheld."""
        pending, self._pending = self._pending, {}
        work = list(pending.values())
        self.scanned += len(work)
        for item in work:
            item.answer.text = Screened(_normal(item.mode, item.text))
        todo = work
        for attempt in range(_ROUNDS):
            if not todo:
                break
            todo = self._round(todo, first=attempt == 0)
        for item in todo:
            item.answer.text, item.answer.withheld = WITHHELD, True
        for key, item in pending.items():
            if isinstance(key, bytes):
                self._long.put(key, item.answer)
            elif not item.before and not item.answer.marks and item.answer.text == item.text:
                self.short[item.mode].put(item.text, item.answer)

    def _round(self, work: list[_Pending], *, first: bool) -> list[_Pending]:
        again = []
        for item, spans in zip(work, self._spans(work, first=first), strict=True):
            if not spans:
                continue
            answer = item.answer
            if item.mode == IDENTIFIER:
                self._identifier(answer, spans)
                continue
            done = redact(answer.text, spans, self._action)
            answer.marks += done.marks if first else tuple(m for m in done.marks if m[1] != "flag")
            answer.withheld = done.withheld
            if not done.withheld and done.text != answer.text:
                again.append(item)
            answer.text = Screened(done.text)
        return again

    def _identifier(self, answer: Answer, spans: Sequence[Span]) -> None:
        if PSEUDONYM.fullmatch(answer.text):
            return
        found = sorted({s.entity for s in spans if self._action(s.entity) != "flag"})
        if found:
            answer.marks = tuple((entity, "redact") for entity in found)
            answer.text = pseudonym(self._pseudonym_key, answer.text)

    def _spans(self, work: list[_Pending], *, first: bool) -> list[tuple[Span, ...]]:
        texts = [item.before + item.answer.text for item in work]
        spans = self._pattern_spans(texts)
        if self._names is not None and (first or self.rewrites_names):
            named = [
                i
                for i, item in enumerate(work)
                if item.mode & NAMES and _may_hold_names(item.answer.text)
            ]
            if named:
                found = detect_all(self._names.detect, [texts[i] for i in named])
                for i, more in zip(named, found, strict=True):
                    spans[i] += more
        return [
            _behind(len(item.before), s) if item.before and s else s
            for item, s in zip(work, spans, strict=True)
        ]

    def _pattern_spans(self, texts: list[str]) -> list[tuple[Span, ...]]:
        """Spans of the texts as they stand and of what their escapes stand for."""
        views = [(i, view) for i, text in enumerate(texts) if (view := decoded(text)) is not None]
        found = detect_all(self._patterns.detect, [*texts, *(view.text for _, view in views)])
        spans = [own + data_urls(text) for own, text in zip(found, texts, strict=False)]
        for (i, view), more in zip(views, found[len(texts) :], strict=True):
            spans[i] += view.back(more)
        return spans


def _behind(length: int, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """The part of the spans behind the first ``length`` characters, counted from there."""
    return tuple(
        Span(max(s.start - length, 0), s.end - length, s.entity, s.score)
        for s in spans
        if s.end > length
    )


def _normal(mode: int, text: str) -> str:
    if mode == IDENTIFIER or (text.isascii() and not mode & TEXT):
        return text
    return normalise(text) if mode & TEXT else unicodedata.normalize("NFC", text)


def _may_hold_names(text: str) -> bool:
    """Words, or one word of letters; not a token such as ``req_81`` or ``2024-11-02``."""
    words = text.split(None, 1)
    if len(words) > 1:
        return True
    return bool(words) and words[0].replace("-", "").replace("'", "").isalpha()
