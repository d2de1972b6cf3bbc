"""Command line: ``train`` makes the model files, ``evaluate`` prints scores as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..model_files import MODEL, save
from ..names import NameDetector
from . import card, corpora, evaluation, training

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder with btc/, wikigold/ and wnut17/")],
    out: Annotated[Path, typer.Option(help="Where the model goes")] = MODEL,
    seed: int = 7,
    epochs: int = 13,
    synthetic: Annotated[int, typer.Option(help="Generated texts per epoch")] = 10_000,
) -> None:
    """Train on one thread with a fixed seed and keep the best epoch."""
    training.train(
        data, seed=seed, epochs=epochs, synthetic=synthetic,
        save=lambda nlp, words: save(nlp, words, out), report=_print,
    )  # fmt: skip


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with btc/, wikigold/ and wnut17/")],
    pii: Annotated[Path | None, typer.Option(help="presidio_synth_v2.json")] = None,
    model: Annotated[str, typer.Option(help="Folder or installed spaCy model")] = str(MODEL),
    markdown: Annotated[bool, typer.Option(help="Print the model card's tables instead")] = False,
) -> None:
    """Score a model on the held-out parts and on Presidio's synthetic test set, as JSON."""
    detector = NameDetector(model)
    _, held = corpora.load(data)
    held_out = evaluation.held_out(detector, held)
    synthetic = None if pii is None else evaluation.presidio(detector, pii)
    if markdown:
        sys.stdout.write(card.tables(held_out, synthetic) + "\n")
    else:
        _print({"held_out": held_out, "presidio_synth_v2": synthetic})


def _print(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app()
