"""Personal-data detection: time per text against plain Presidio, words per second of the names.

``python -m benchmarks.pii [--data DIR]`` prints every pattern match in its surroundings instead, to
be read and judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import corpus, plain
from benchmarks.corpus import Corpus
from benchmarks.timing import microseconds
from stages.pii.detect import NameDetector, PatternDetector, Span

LENGTHS = (100, 1_000, 5_000)
PLAIN_TEXTS = 40
TEXTS = 1_000


def measure(corpus: Corpus) -> dict[str, Any]:
    """µs CPU a text by length; words a second; matches by entity in all texts."""
    patterns, names, analyze = PatternDetector(), NameDetector(), plain.presidio()
    lengths: dict[str, Any] = {}
    for length in LENGTHS:
        pieces = corpus.pieces(length, TEXTS if length < 5_000 else TEXTS // 4)
        lengths[str(length)] = {
            "patterns": microseconds(patterns.detect, pieces),
            "plain Presidio": microseconds(
                lambda part: [analyze(text) for text in part], pieces[:PLAIN_TEXTS]
            ),
            "names": microseconds(names.detect, pieces[:200], rounds=2),
        }
    sample = corpus.texts[: TEXTS // 2]
    words = sum(len(text.split()) for text in sample)
    seconds = microseconds(names.detect, sample, rounds=2) * len(sample) / 1e6
    found = Counter(span.entity for spans in patterns.detect(corpus.texts) for span in spans)
    return {
        "unit": "µs CPU a text",
        "lengths": lengths,
        "names_words_per_second": round(words / seconds),
        "texts": len(corpus.texts),
        "found": dict(found.most_common()),
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {int(length):,} | {cells['patterns']:,.0f} | {cells['plain Presidio']:,.0f} "
        f"| **{cells['plain Presidio'] / cells['patterns']:,.0f}×** | {cells['names']:,.0f} |"
        for length, cells in result["lengths"].items()
    ]
    found = ", ".join(f"{entity} {count}" for entity, count in result["found"].items())
    return "\n".join(
        [
            "| characters | patterns, µs CPU | plain Presidio | ratio | names, µs CPU |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Names: {result['names_words_per_second']:,} words a second. Patterns found in "
            f"{result['texts']:,} texts: {found}.",
        ]
    )


def show(texts: Sequence[str], found: Sequence[tuple[Span, ...]]) -> None:
    """Every span between its surroundings."""
    for text, spans in zip(texts, found, strict=True):
        for s in spans:
            before, after = text[max(0, s.start - 50) : s.start], text[s.end : s.end + 25]
            print(f"{s.entity} {s.score} {before!r} [{text[s.start : s.end]!r}] {after!r}")


def main(data: Annotated[Path | None, typer.Option()] = None) -> None:
    texts = corpus.load(data).texts
    show(texts, PatternDetector().detect(texts))


if __name__ == "__main__":
    typer.run(main)
