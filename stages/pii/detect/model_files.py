"""The shipped name model: where it lies, how it is checked and loaded, how it is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import spacy
from spacy.language import Language

MODEL = Path(__file__).with_name("model")
MANIFEST = "SHA256.json"
WORDS = "ordinary.txt"
RESTORE = (
    "restore it with `git checkout -- stages/pii/detect/model` or reinstall the package; "
    "to train it anew: `python -m stages.pii.detect.train_ner train <corpora folder>`"
)


class ModelFilesError(RuntimeError):
    """The model's files are missing or are not the ones its manifest names."""


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every model file, by its path inside ``folder``; card and manifest excepted."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {MANIFEST, "CARD.md"}
    }


def load(folder: Path = MODEL) -> Language:
    """The pipeline in ``folder``, after every file's hash was checked. Never uses the network.

    Raises ModelFilesError, naming the command that restores the files.
    """
    try:
        wanted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"the name model has no readable {MANIFEST}: {RESTORE}") from error
    found = digests(folder)
    if found != wanted:
        wrong = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
        raise ModelFilesError(f"files of the name model differ ({', '.join(wrong)}): {RESTORE}")
    return spacy.load(folder)


def ordinary_words(folder: Path = MODEL) -> frozenset[str]:
    """Words, in lower case, that alone are no name; checked together with the model."""
    return frozenset((folder / WORDS).read_text(encoding="utf-8").split())


def save(nlp: Language, words: Iterable[str], folder: Path) -> None:
    """Write ``nlp``, its ordinary words and the manifest.

    spaCy's own list of the words of training is left out: the model needs only their hashes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(folder, exclude=["vocab"])
    (folder / WORDS).write_text("\n".join(words) + "\n", encoding="utf-8")
    manifest = json.dumps(digests(folder), indent=1) + "\n"
    (folder / MANIFEST).write_text(manifest, encoding="utf-8")
