"""The plain stack: the named packages used as their documentation shows, one event at a time."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import spacy
import tldextract
from langdetect import (  # type: ignore[import-untyped]
    DetectorFactory,
    LangDetectException,
    detect_langs,
)
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

from schemas import events

_SCHEMAS = Path(events.__file__).with_name("json")
_STORES = """
CREATE TABLE claims (id TEXT PRIMARY KEY, origin TEXT);
CREATE TABLE nodes (label TEXT, key TEXT, properties TEXT, PRIMARY KEY (label, key));
CREATE TABLE edges (source TEXT, type TEXT, target TEXT, PRIMARY KEY (source, type, target));
CREATE TABLE points (id TEXT PRIMARY KEY, time TEXT, model TEXT, tokens INTEGER);
CREATE TABLE letters (id TEXT, sealed BLOB);
CREATE VIRTUAL TABLE documents USING fts5 (id UNINDEXED, text);
"""

Work = Callable[[Sequence[Any]], object]


def validator(kind: str) -> Callable[[bytes], Any]:
    """json.loads and jsonschema's draft-07 validator with format checking."""
    schema = json.loads((_SCHEMAS / f"{kind}_event.json").read_text("utf-8"))
    check = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate

    def validate(value: bytes) -> Any:
        event = json.loads(value)
        check(event)
        return event

    return validate


def language(text: str) -> str:
    """By langdetect, with its confidence computed."""
    DetectorFactory.seed = 0
    try:
        return str(detect_langs(text)[0].lang)
    except LangDetectException:
        return "und"


def tokenizer() -> Callable[[str], int]:
    """tiktoken's o200k_base, from rank files that are installed with the benchmarks' packages."""
    spec = find_spec("llama_index")
    if spec is not None and spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations)))
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(root / "core/_static/tiktoken_cache"))
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")
    return lambda text: len(encoding.encode(text, disallowed_special=()))


def presidio() -> Callable[[str], object]:
    """Presidio's engine with its default recognizers and a blank tokenizer: names left out."""
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    nlp: Any = SpacyNlpEngine()
    nlp.nlp = {"en": spacy.blank("en")}
    engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    return lambda text: engine.analyze(text, "en")


class Rows:
    """SQLite with its defaults: an insert and a commit for each event and store."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.executescript(_STORES)

    def claim(self, event: Any) -> None:
        with self._connection as c:
            c.execute("INSERT OR IGNORE INTO claims VALUES (?, ?)", (event["eventId"], "0"))

    def write(self, event: Any, text: str, tokens: int) -> None:
        id_ = event["eventId"]
        session = event.get("session", {}).get("id", "")
        model = event.get("model", {}).get("id", "")
        with self._connection as c:
            c.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", ("Event", id_, text))
            c.execute("INSERT OR IGNORE INTO nodes VALUES (?, ?, ?)", ("Session", session, ""))
            c.execute("INSERT OR IGNORE INTO edges VALUES (?, ?, ?)", (id_, "PART_OF", session))
        with self._connection as c:
            row = (id_, event["timestamp"], model, tokens)
            c.execute("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", row)
        with self._connection as c:
            c.execute("INSERT INTO documents VALUES (?, ?)", (id_, text))

    def letter(self, event: Any, sealed: bytes) -> None:
        with self._connection as c:
            c.execute("INSERT INTO letters VALUES (?, ?)", (event["eventId"], sealed))

    def close(self) -> None:
        self._connection.close()


class Stack:
    """All of it, one event after the other, without names and vectors."""

    def __init__(self, path: Path) -> None:
        self._validate = {kind: validator(kind) for kind in ("prompt", "response")}
        self._count = tokenizer()
        self._analyze = presidio()
        self._rows = Rows(path)

    def __call__(self, values: Sequence[tuple[str, bytes]]) -> None:
        """``values``: (kind, JSON) of events."""
        for kind, value in values:
            event = self._validate[kind](value)
            self._rows.claim(event)
            text = " ".join(event[kind]["text"].split())
            hashlib.sha256(text.encode()).hexdigest()
            language(text)
            tokens = self._count(text)
            self._analyze(text)
            self._rows.write(event, text, tokens)

    def close(self) -> None:
        self._rows.close()
