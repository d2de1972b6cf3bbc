"""Each stage and store alone: µs of CPU an event, beside the package that one would take for it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.fernet import Fernet

from benchmarks import events, plain
from benchmarks.corpus import Corpus
from benchmarks.timing import cpu_seconds, microseconds
from benchmarks.worker import WITHOUT_MODELS
from flows.heap import quiet_heap
from flows.keys import load_keys
from flows.pipeline import Pipeline, build_pipeline
from flows.settings import Settings
from flows.stores import SELECT, Stores, open_stores
from schemas.chunk import Chunk
from schemas.failures import Detail, Rejected
from stages.pii.detect import NameDetector, PatternDetector, model_files
from stages.text.language import detect_language
from stages.text.normal import normalise, text_hash
from stages.text.tokens import count_tokens

LENGTHS = (200, 1_000, 5_000)
COUNTS = {200: 2_000, 1_000: 1_000, 5_000: 600}
CHUNK = 100
PLAIN = 40
PLAIN_ROWS = 100

BASELINES = {
    "validate": "json.loads, jsonschema Draft 7",
    "language": "langdetect",
    "tokens": "tiktoken",
    "patterns": "Presidio, default recognizers",
    "names": "the same model, a text at a time",
    "text": "NFC, SHA-256, langdetect, tiktoken",
    "dedupe": "SQLite, a commit a row",
    "write (four stores)": "SQLite, a commit a row and store",
    "dead letter": "Fernet, SQLite, a commit a row",
}
ROWS = {
    "validate": "validate",
    "dedupe": "dedupe",
    "text": "text, of it",
    "normalise, hash": "– normal form, hash",
    "language": "– language",
    "tokens": "– tokens (of prompts)",
    "pii": "pii without names, of it",
    "patterns": "– patterns in the text",
    "names": "names, when they are on",
    "lookup": "lookup and join",
    "extract": "extract",
    "write graph": "write graph",
    "write timeseries": "write time series",
    "write search": "write search",
    "write (four stores)": "all stores, no vectors",
    "dead letter": "dead letter, sealed",
}
"""The rows of the table, in the order of the stages."""

Row = dict[str, float]


def measure(corpus: Corpus) -> dict[str, Any]:
    """For each length, ours and the baseline by row; ``BASELINES`` says what that is."""
    result: dict[str, Any] = {"unit": "µs CPU an event", "baselines": BASELINES, "lengths": {}}
    for length in LENGTHS:
        texts = corpus.pieces(length, COUNTS[length])
        ours = _functions(texts) | _pipeline(texts)
        theirs = _baselines(texts)
        result["lengths"][str(length)] = {
            row: {"ours": round(ours[row], 1), "baseline": theirs.get(row)} for row in ours
        }
    return result


def _functions(texts: Sequence[str]) -> Row:
    """The parts of stages that have a package of their own to be compared with."""
    patterns, names = PatternDetector(), NameDetector()
    few = texts[:CHUNK]
    return {
        "language": microseconds(lambda part: [detect_language(t) for t in part], texts),
        "tokens": microseconds(
            lambda part: [count_tokens(t, "gpt-4o", "openai") for t in part], texts
        ),
        "patterns": microseconds(patterns.detect, texts),
        "names": microseconds(names.detect, few, rounds=1),
        "normalise, hash": microseconds(
            lambda part: [text_hash(normalise(t)) for t in part], texts
        ),
    }


def _pipeline(texts: Sequence[str]) -> Row:
    """Every stage in its place, and the stores, over fresh texts; once, as a cache would answer
    the second time. The first events warm up and are not counted."""
    spent: Row = {}
    with TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(**{**WITHOUT_MODELS, "worker": {"data": Path(folder)}})
        keys = load_keys(settings.data)
        with open_stores(settings, keys) as stores:
            pipeline = build_pipeline(settings, keys, stores)
            chunks = list(_cut(events.chunks(texts)))
            counted = sum(len(chunk.items) for chunk in chunks[2:])
            with quiet_heap():
                for number, chunk in enumerate(chunks):
                    _one(pipeline, stores, chunk, spent if number >= 2 else {})
            dead = [_rejected(item) for chunk in chunks for item in chunk.items]
            letters = cpu_seconds(lambda: stores.letters.put(dead)) / len(dead)
    return {row: s / counted * 1e6 for row, s in spent.items()} | {"dead letter": letters * 1e6}


def _one(pipeline: Pipeline, stores: Stores, chunk: Chunk[Any], spent: Row) -> None:
    """What a stage has queued for the writer is charged to it."""
    for stage in pipeline.stages:
        outcomes: list[Any] = []

        def work(stage: Any = stage, chunk: Any = chunk, outcomes: list[Any] = outcomes) -> None:
            outcomes.append(stage(chunk))
            stores.folder.database.flush()

        spent[stage.name] = spent.get(stage.name, 0.0) + cpu_seconds(work)
        chunk = outcomes[0].passed
    for store, sink in stores.sinks.items():
        records = [r for m in chunk.items if (r := SELECT[store](m)) is not None]
        seconds = cpu_seconds(lambda sink=sink, records=records: sink.write(records))  # type: ignore[misc]
        spent[f"write {store}"] = spent.get(f"write {store}", 0.0) + seconds
        spent["write (four stores)"] = spent.get("write (four stores)", 0.0) + seconds


def _cut(chunks: Sequence[Chunk[Any]]) -> Iterator[Chunk[Any]]:
    """Pieces of ``CHUNK`` events, prompts and their responses by turns."""
    for at in range(0, max(len(chunk.items) for chunk in chunks), CHUNK):
        for chunk in chunks:
            if part := chunk.items[at : at + CHUNK]:
                yield Chunk(chunk.partition, part, chunk.log_time)


def _rejected(record: Any) -> Rejected:
    detail = Detail("$.prompt.text", "string")
    return Rejected("validate", "wrong_type", record.origin, detail, record.original)


def _baselines(texts: Sequence[str]) -> dict[str, float]:
    count, analyze = plain.tokenizer(), plain.presidio()
    few = texts[:PLAIN]
    values = [
        (topic == events.PROMPTS, value) for topic, value in events.encoded(texts[: 4 * PLAIN])
    ]
    checks = [plain.validator("response"), plain.validator("prompt")]
    nlp = model_files.load()

    def names(part: Sequence[str]) -> None:
        for text in part:
            _ = nlp(text).ents

    def plain_text(part: Sequence[str]) -> None:
        for text in part:
            normal = unicodedata.normalize("NFC", text)
            sha256(" ".join(normal.split()).encode()).hexdigest()
            plain.language(normal)
            count(normal)

    return {
        "validate": microseconds(lambda part: [checks[p](v) for p, v in part], values),
        "language": microseconds(lambda part: [plain.language(t) for t in part], few, rounds=1),
        "tokens": microseconds(lambda part: [count(t) for t in part], texts[: 10 * PLAIN]),
        "patterns": microseconds(lambda part: [analyze(t) for t in part], few, rounds=1),
        "names": microseconds(names, few, rounds=2),
        "text": microseconds(plain_text, few, rounds=1),
        **_rows(few),
    }


def _rows(texts: Sequence[str]) -> Row:
    """SQLite with its defaults, a row at a time."""
    made = [event for _, event in events.conversations(list(texts) * 2)][:PLAIN_ROWS]
    fernet = Fernet(Fernet.generate_key())
    with TemporaryDirectory(prefix="bench-") as folder:
        rows = plain.Rows(Path(folder) / "plain.db")
        works: dict[str, Callable[[Any], object]] = {
            "dedupe": rows.claim,
            "write (four stores)": lambda e: rows.write(e, _text(e), 1),
            "dead letter": lambda e: rows.letter(e, fernet.encrypt(_text(e).encode())),
        }
        spent = {
            row: cpu_seconds(lambda work=work: [work(e) for e in made]) / len(made) * 1e6  # type: ignore[misc]
            for row, work in works.items()
        }
        rows.close()
    return {row: round(value, 1) for row, value in spent.items()}


def _text(event: Any) -> str:
    return str((event.get("prompt") or event["response"])["text"])


def table(result: dict[str, Any]) -> str:
    """One row a stage or part, a column a length: ours / baseline (ratio)."""
    lengths = result["lengths"]
    head = " | ".join(f"{int(length):,} characters" for length in lengths)
    lines = [f"| µs CPU an event | {head} | against |", "|---|" + "---|" * (len(lengths) + 1)]
    for row, shown in ROWS.items():
        cells = " | ".join(_cell(**rows[row]) for rows in lengths.values())
        lines.append(f"| {shown} | {cells} | {result['baselines'].get(row, '')} |")
    return "\n".join(lines)


def _cell(ours: float, baseline: float | None) -> str:
    if baseline is None:
        return f"{ours:,.0f}"
    ratio = baseline / max(ours, 0.1)
    return f"{ours:,.0f} / {baseline:,.0f} (**{ratio:,.{0 if ratio >= 10 else 1}f}×**)"
