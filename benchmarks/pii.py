"""Personal-data detection: time per text against plain Presidio, words per second of the names.

``python -m benchmarks.pii CHAT.jsonl [--show]`` with one JSON object a line (``user_query``,
``chatgpt_response``). ``--show`` prints every pattern match in its surroundings instead, to be
read and judged. Times are CPU time of this process: other work on the machine counts less.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import spacy
import tldextract
import typer
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

from stages.pii.detect import NameDetector, PatternDetector, Span

LENGTHS = (100, 1_000, 5_000)
PLAIN_TEXTS = 60


def read(path: Path) -> list[str]:
    """The queries and responses of the file, in order."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [str(row[key]) for row in rows for key in ("user_query", "chatgpt_response")]


def cut(texts: Sequence[str], length: int, count: int) -> list[str]:
    """``count`` pieces of ``length`` characters of the texts laid end to end."""
    joined = "\n".join(texts)
    step = max(length, len(joined) // count)
    return [joined[at : at + length] for at in range(0, len(joined) - length, step)][:count]


def microseconds(work: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """CPU time per text, after one warm-up, in µs: the best of three rounds."""
    work(texts[: len(texts) // 10 + 1])
    rounds = []
    for _ in range(3):
        start = time.process_time()
        work(texts)
        rounds.append(time.process_time() - start)
    return round(min(rounds) / len(texts) * 1e6, 1)


def plain_presidio() -> Callable[[Sequence[str]], object]:
    """Presidio's engine with its default recognizers and a tokenizer, names left out."""
    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    tldextract.tldextract.TLD_EXTRACTOR = extract
    nlp: Any = SpacyNlpEngine()
    nlp.nlp = {"en": spacy.blank("en")}
    engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    return lambda texts: [engine.analyze(text, "en") for text in texts]


def show(texts: Sequence[str], found: Sequence[tuple[Span, ...]]) -> None:
    """Every span between its surroundings."""
    for text, spans in zip(texts, found, strict=True):
        for s in spans:
            before, after = text[max(0, s.start - 50) : s.start], text[s.end : s.end + 25]
            print(f"{s.entity} {s.score} {before!r} [{text[s.start : s.end]!r}] {after!r}")


def main(
    chat: Annotated[Path, typer.Argument(help="JSON lines with user_query, chatgpt_response")],
    show_matches: Annotated[bool, typer.Option("--show")] = False,
) -> None:
    texts = read(chat)
    patterns = PatternDetector()
    if show_matches:
        show(texts, patterns.detect(texts))
        return
    names, plain = NameDetector(), plain_presidio()
    result: dict[str, Any] = {"unit": "µs CPU per text", "texts": len(texts)}
    for length in LENGTHS:
        pieces = cut(texts, length, 2_000 if length < 5_000 else 400)
        result[f"{length} characters"] = {
            "patterns": microseconds(patterns.detect, pieces),
            "plain Presidio": microseconds(plain, pieces[:PLAIN_TEXTS]),
            "names": microseconds(names.detect, pieces[:200]),
        }
    sample = texts[:1_000]
    words = sum(len(text.split()) for text in sample)
    seconds = microseconds(names.detect, sample) * len(sample) / 1e6
    result["names, words/s"] = round(words / seconds)
    result["found in all texts"] = Counter(
        span.entity for spans in patterns.detect(texts) for span in spans
    )
    json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    typer.run(main)
