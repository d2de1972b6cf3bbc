"""Finds personal data that has a form: numbers with check digits, addresses, secrets.

One RE2 set, a single pass over the text, says which recognizers can match at all; those run
only on the words or lines where they can. Without the set the result is the same, slower:
``tests/stages/pii/detect`` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import re2

from . import refine
from .context import Context
from .fold import fold
from .presidio import recognizer
from .rules import PATTERN_ENTITIES, ROWS, SECRET, SECRETS
from .running import Find, Match, finder
from .settings import DetectSettings
from .spans import Span, resolve
from .windows import WINDOWS, Windows, whole

CONTEXT_BOOST = 0.35
CONTEXT_FLOOR = 0.55
_SET_MEMORY = 64 << 20


class _Rule(msgspec.Struct, frozen=True):
    """A recognizer ready to run."""

    entity: str
    gate: Any
    find: Find
    windows: Windows = whole
    ceiling: float = 1.0
    context: Any = None
    required: bool = False
    refine: refine.Refinement | None = None
    possible: Callable[[str], bool] | None = None


def _secret_matches(pattern: Any, generic: bool, text: str) -> list[Match]:
    found = []
    for match in pattern.finditer(text):
        group = pattern.groupindex.get("secret", 0)
        if match.group(group) is None:
            group = 0
        if not generic or refine.secret(match.group(group)):
            found.append((*match.span(group), 0.6 if generic else 0.95))
    return found


def _rules(settings: DetectSettings) -> Iterator[_Rule]:
    wanted = PATTERN_ENTITIES if settings.entities is None else frozenset(settings.entities)
    for row in ROWS:
        if row.entity in wanted:
            yield _Rule(
                entity=row.entity,
                gate=re2.compile(row.gate),
                find=finder(recognizer(row.recognizer, settings.phone_regions)),
                windows=WINDOWS[row.window],
                ceiling=row.ceiling,
                context=row.context and re2.compile(rf"(?i)\b(?:{row.context})(?:\b|\W|$)"),
                required=row.required,
                refine=refine.REFINEMENTS.get(row.entity),
                possible=refine.POSSIBLE.get(row.recognizer),
            )
    if SECRET in wanted:
        for secret in SECRETS:
            pattern = re2.compile(secret.pattern)
            find = partial(_secret_matches, pattern, secret.generic)
            yield _Rule(entity=SECRET, gate=pattern, find=find)


class PatternDetector:
    """Finds entities by their form, whatever the language.

    A text's spans depend on that text alone. ``prefilter=False`` runs every recognizer over
    every whole text; it exists to be compared with.
    """

    def __init__(self, settings: DetectSettings | None = None, *, prefilter: bool = True) -> None:
        settings = settings or DetectSettings()
        self._threshold = settings.threshold
        self._rules = tuple(_rules(settings))
        self._gates: Callable[[str], list[int]] | None = None
        if prefilter:
            self._gates, self._needs = self._compile()

    def _compile(self) -> tuple[Callable[[str], list[int]], dict[int, int]]:
        """The set of gates, and for rules that need context the index of its pattern."""
        options = re2.Options()
        options.max_mem = _SET_MEMORY
        gates = re2.Set.SearchSet(options)
        for rule in self._rules:
            gates.Add(rule.gate.pattern)
        needs = {
            n: gates.Add(rule.context.pattern)
            for n, rule in enumerate(self._rules)
            if rule.required
        }
        gates.Compile()
        return gates.Match, needs

    def detect(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """Disjoint spans of every text, sorted."""
        return [self._detect(text) for text in texts]

    def _detect(self, text: str) -> tuple[Span, ...]:
        text = fold(text)
        if self._gates is None:
            found = [s for rule in self._rules for s in self._spans(rule, text, rule.find(text))]
            return resolve(found)
        open_gates = self._gates(text)
        if not open_gates:
            return ()
        spans: list[Span] = []
        for n in open_gates:
            if n >= len(self._rules) or self._needs.get(n, n) not in open_gates:
                continue
            rule = self._rules[n]
            spans += self._spans(rule, text, _in_windows(rule, text))
        return resolve(spans)

    def _spans(self, rule: _Rule, text: str, matches: list[Match]) -> Iterator[Span]:
        hints: Context | None = None
        for start, end, score in matches:
            start += text[start] == " "
            start += text[start] == "(" and ")" not in text[start:end]
            if hints is None:
                hints = Context(rule.context, text)
            near = hints.near(start, end)
            if rule.required and not near:
                continue
            score = min(score, rule.ceiling)
            if rule.refine is not None:
                score = rule.refine(text, start, end, score, near)
            if near and score > 0:
                score = min(1.0, max(score + CONTEXT_BOOST, CONTEXT_FLOOR))
            if score > 0 and score >= self._threshold:
                yield Span(start, end, rule.entity, round(score, 4))


def _in_windows(rule: _Rule, text: str) -> list[Match]:
    found: list[Match] = []
    possible = rule.possible
    hints = None if possible is None else Context(rule.context, text)
    for at, stop in rule.windows(rule.gate, text):
        piece = text[at:stop]
        if possible is None or possible(piece) or (hints and hints.around(at, stop)):
            found += [(at + start, at + end, score) for start, end, score in rule.find(piece)]
    return found
