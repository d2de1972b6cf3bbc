"""The worker with encoder and names, beside what these two do alone on the same texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.corpus import Corpus
from benchmarks.timing import cpu_seconds
from benchmarks.worker import run_worker
from stages.embed.encoder import Encoder
from stages.embed.settings import EmbedSettings
from stages.pii.detect import model_files

TEXTS = 600
BATCH = 64
WINDOW = 250
"""Texts in one call of the bare encoder: about a chunk of the worker."""


def measure(corpus: Corpus) -> dict[str, Any]:
    """Real texts as they are, each once: a prompt or a response of its own.

    The bare run is spaCy's pipe and the encoder, as the stages call them, and nothing else. The
    worker encodes the texts after redaction, and each distinct text once.
    """
    texts = [text for text in corpus.texts if text == text.strip()][:TEXTS]
    texts = texts[: len(texts) // 2 * 2]
    bare = _bare(texts)
    with TemporaryDirectory(prefix="bench-") as folder:
        ours = run_worker(Path(folder), texts, {})
    worker = {
        "cpu_us_per_text": round(ours["cpu_seconds"] / len(texts) * 1e6, 1),
        "wall_us_per_text": round(ours["wall_seconds"] / len(texts) * 1e6, 1),
    }
    return {
        "texts": len(texts),
        "characters_mean": round(sum(map(len, texts)) / len(texts)),
        "texts_encoded_by_the_worker": ours["texts_encoded"],
        "bare": bare,
        "worker": worker,
        "ratio_cpu": round(bare["cpu_us_per_text"] / worker["cpu_us_per_text"], 3),
        "ratio_wall": round(bare["wall_us_per_text"] / worker["wall_us_per_text"], 3),
        "events_per_cpu_second": round(1e6 / worker["cpu_us_per_text"]),
    }


def _bare(texts: Sequence[str]) -> dict[str, float]:
    encoder, nlp = Encoder(EmbedSettings()), model_files.load()
    encoder.embed(texts[:BATCH])
    _names(nlp, texts[:BATCH])

    def encode() -> None:
        for start in range(0, len(texts), WINDOW):
            encoder.embed(texts[start : start + WINDOW])

    names_cpu, names_wall = _both(lambda: _names(nlp, texts))
    encoder_cpu, encoder_wall = _both(encode)
    each = 1e6 / len(texts)
    return {
        "names_cpu_us_per_text": round(names_cpu * each, 1),
        "encoder_cpu_us_per_text": round(encoder_cpu * each, 1),
        "cpu_us_per_text": round((names_cpu + encoder_cpu) * each, 1),
        "wall_us_per_text": round((names_wall + encoder_wall) * each, 1),
    }


def _names(nlp: Any, texts: Sequence[str]) -> None:
    with nlp.memory_zone():
        for document in nlp.pipe(texts, batch_size=BATCH):
            _ = document.ents


def _both(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU and of the clock."""
    before = time.perf_counter()
    cpu = cpu_seconds(work)
    return cpu, time.perf_counter() - before


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    bare, worker = result["bare"], result["worker"]
    return "\n".join(
        [
            f"| {result['texts']} real texts, {result['characters_mean']} characters at the mean "
            "| µs CPU a text | µs wall a text |",
            "|---|---|---|",
            f"| names alone | {bare['names_cpu_us_per_text']:,.0f} | |",
            f"| encoder alone | {bare['encoder_cpu_us_per_text']:,.0f} | |",
            f"| both alone | {bare['cpu_us_per_text']:,.0f} | {bare['wall_us_per_text']:,.0f} |",
            f"| worker, everything, four stores | {worker['cpu_us_per_text']:,.0f} "
            f"| {worker['wall_us_per_text']:,.0f} |",
            f"| **of what both do alone** | **{result['ratio_cpu']:.0%}** "
            f"| **{result['ratio_wall']:.0%}** |",
        ]
    )
