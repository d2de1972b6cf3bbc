"""Readers of the CoNLL-format corpora BTC, wikigold and WNUT17.

The corpora hold tokens; the worker sees text. So tokens are joined the way they would be
written, and the labels become character offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .examples import Example, join

LABEL_OF = {
    "PER": "PERSON",
    "person": "PERSON",
    "ORG": "ORGANIZATION",
    "corporation": "ORGANIZATION",
    "group": "ORGANIZATION",
    "LOC": "LOCATION",
    "location": "LOCATION",
}
_NO_SPACE_BEFORE = frozenset(".,!?;:)]}%'\"…") | {
    "n't",
    "'s",
    "'m",
    "'re",
    "'ve",
    "'ll",
    "'d",
    "...",
}
_NO_SPACE_AFTER = frozenset("([{$#@£€")


def sentences(path: Path) -> Iterator[list[tuple[str, str]]]:
    """Sentences of (token, tag); one token a line, an empty line ends a sentence."""
    sentence: list[tuple[str, str]] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) >= 2:
                if fields[0] != "-DOCSTART-":
                    sentence.append((fields[0], fields[-1]))
            elif sentence:
                yield sentence
                sentence = []
    if sentence:
        yield sentence


def to_example(sentence: list[tuple[str, str]]) -> Example:
    """Join tokens into text; IO tags (wikigold) and BIO tags (the others) both work.

    BTC labels ``@handles`` as persons and WNUT17 does not: here they are not names.
    """
    parts: list[tuple[str, str | None]] = []
    previous, open_label = "", None
    for token, tag in sentence:
        prefix, _, kind = tag.partition("-")
        handle = previous == "@" or token.startswith("@")
        label = None if handle else LABEL_OF.get(kind)
        glued = previous == "" or previous in _NO_SPACE_AFTER or token in _NO_SPACE_BEFORE
        space = "" if glued else " "
        if label is not None and label == open_label and prefix == "I":
            parts[-1] = (parts[-1][0] + space + token, label)
        else:
            parts += [(space, None), (token, label)]
        previous, open_label = token, label
    return join(parts)


def read(path: Path) -> list[Example]:
    """All sentences of one corpus file."""
    return [to_example(sentence) for sentence in sentences(path)]


def split(examples: list[Example], every: int = 10) -> tuple[list[Example], list[Example]]:
    """Train and held-out parts: runs of 20 sentences, every tenth run held out.

    Runs, not single sentences, so that neighbours from one page do not sit on both sides.
    """
    held = [e for n, e in enumerate(examples) if (n // 20) % every == every - 1]
    train = [e for n, e in enumerate(examples) if (n // 20) % every != every - 1]
    return train, held


def load(folder: Path) -> tuple[list[Example], dict[str, list[Example]]]:
    """Training sentences and the held-out parts by name, from a folder with the three corpora.

    WNUT17's test file is never trained on; of BTC and wikigold, a tenth is held out.
    """
    train: list[Example] = []
    held: dict[str, list[Example]] = {}
    btc: list[Example] = []
    for path in sorted((folder / "btc").glob("*.conll")):
        part, rest = split(read(path))
        train += part
        btc += rest
    held["btc"] = btc
    part, held["wikigold"] = split(read(folder / "wikigold" / "wikigold.conll.txt"))
    train += part
    train += read(folder / "wnut17" / "wnut17train.conll")
    held["wnut17_dev"] = read(folder / "wnut17" / "emerging.dev.conll")
    held["wnut17_test"] = read(folder / "wnut17" / "emerging.test.annotated")
    return train, held
