"""The training loop: real sentences once an epoch, fresh synthetic ones beside them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example as SpacyExample
from spacy.util import fix_random_seed

from . import corpora, scoring, vocabulary
from .examples import LABELS, Example
from .synth import Synthesizer

NAME_SAMPLE = 20_000
CONFIG = Path(__file__).with_name("pipeline.cfg")
META = {
    "name": "names_small",
    "version": "1.0.0",
    "description": "Persons, organisations, places and street addresses in English prompts",
    "license": "Apache-2.0; trained on corpora under CC BY 4.0, see NOTICE",
}
Report = Callable[[dict[str, Any]], None]
Save = Callable[[Language, list[str]], None]


def to_doc(nlp: Language, example: Example) -> Doc:
    """The text as the worker's tokenizer splits it; labels widen to whole tokens."""
    doc = nlp.make_doc(example.text)
    spans = [doc.char_span(a, b, label, alignment_mode="expand") for a, b, label in example.spans]
    doc.set_ents(spacy.util.filter_spans([s for s in spans if s is not None and len(s)]))
    return doc


def predict(nlp: Language, texts: list[str]) -> list[list[scoring.Labelled]]:
    """Spans (start, end, label) of every text, in code points."""
    return [
        [(e.start_char, e.end_char, e.label_) for e in doc.ents]
        for doc in nlp.pipe(texts, batch_size=64)
    ]


def held_out_scores(
    nlp: Language, held: dict[str, list[Example]]
) -> dict[str, dict[str, scoring.Score]]:
    """Exact-match scores of every held-out part."""
    scores = {}
    for name, examples in held.items():
        found = predict(nlp, [e.text for e in examples])
        pairs = [(e.spans, f) for e, f in zip(examples, found, strict=True)]
        scores[name] = scoring.score(pairs, LABELS)
    return scores


def train(
    data: Path, *, seed: int, epochs: int, synthetic: int, save: Save, report: Report
) -> None:  # fmt: skip
    """Train on the corpora under ``data`` and call ``save`` whenever the score improves.

    ``save`` receives the pipeline and the ordinary words.

    The score is the mean exact F1 over the held-out parts other than WNUT17's test file, so
    that file stays unseen by every choice made here. ``report`` receives a row per epoch.
    """
    fix_random_seed(seed)
    shuffle = random.Random(seed)  # noqa: S311 - training order, not secrets
    real, held = corpora.load(data)
    held.pop("wnut17_test")
    words = vocabulary.common_words(real)
    held["templates"] = Synthesizer(seed + 1, words).examples(800)
    synthesizer = Synthesizer(seed + 1000, words)
    names = [*real, *Synthesizer(seed + 2, words).examples(NAME_SAMPLE)]
    ordinary = vocabulary.ordinary_words(real, names)
    nlp = spacy.util.load_model_from_config(spacy.util.load_config(CONFIG), auto_fill=True)
    nlp.meta.update(META)
    warm = [to_doc(nlp, e) for e in [*synthesizer.examples(500), *real[:500]]]
    optimizer = nlp.initialize(lambda: [SpacyExample(d.copy(), d) for d in warm])
    averaged_best = 0.0
    for epoch in range(epochs):
        rows = [*real, *synthesizer.examples(synthetic)]
        shuffle.shuffle(rows)
        optimizer.learn_rate = 0.001 * (1.0 - 0.9 * epoch / max(epochs - 1, 1))
        losses: dict[str, float] = {}
        for batch in _batches(rows, words=min(400 + 250 * epoch, 1800)):
            docs = [to_doc(nlp, e) for e in batch]
            pairs = [SpacyExample(nlp.make_doc(d.text), d) for d in docs if len(d)]
            nlp.update(pairs, sgd=optimizer, drop=0.25, losses=losses)
        with nlp.use_params(optimizer.averages):
            scores = held_out_scores(nlp, held)
            mean = sum(s["all"]["f1"] for s in scores.values()) / len(scores)
            if mean > averaged_best:
                averaged_best = mean
                save(nlp, ordinary)
        report(
            {
                "epoch": epoch,
                "loss": round(losses["ner"]),
                "mean_f1": round(mean, 4),
                **{name: s["all"]["f1"] for name, s in scores.items()},
            }
        )


def _batches(rows: list[Example], words: int) -> Iterator[list[Example]]:
    """Batches of about ``words`` words (six characters each)."""
    batch: list[Example] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.text) // 6 + 1
        if size >= words:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
