"""Finds names of people, organisations and places with a spaCy pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language

from . import model_files
from .settings import DetectSettings
from .spans import NAME_ENTITIES, Span, resolve

# spaCy's models give no confidence; this is the figure Presidio uses for them.
SCORE = 0.85
BATCH = 20_000
"""Code points that go through the network at once: short texts together, a long one alone. More
would only take more memory."""
_ENTITY_OF = {
    **{entity: entity for entity in NAME_ENTITIES},
    "PER": "PERSON",
    "ORG": "ORGANIZATION",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "FAC": "LOCATION",
}
_KEEP = {"tok2vec", "transformer", "ner"}
_EDGES = " \t\r\n\f\v\"'`“”‘’«»()[]{}<>|*_#,;:!?-–—/\\"
_LONG_WORD = re.compile(r"\S{65,}")
_POSSESSIVE = re.compile(r"['’]s?$")
_LISTED = re.compile(r"\d{1,3}(?:[.):]|\s+-)\s")
_CAPITAL = re.compile(r"[A-HJ-Z]|I\w")
_CODE = re.compile(r"[_=<>{}()\[\]\\|@]|::|://|\w\.\w+\(|[a-z][A-Z]\w*[a-z][A-Z]")


class NameDetector:
    """Finds PERSON, ORGANIZATION, LOCATION and, with the shipped model, STREET_ADDRESS.

    ``model`` is the name or folder of an installed spaCy pipeline with an entity recogniser;
    None is the model shipped with this package. Raises ``ModelFilesError`` where the shipped
    files are damaged and ``LookupError`` where ``model`` is not installed.
    """

    def __init__(self, model: str | None = None, *, settings: DetectSettings | None = None) -> None:
        settings = settings or DetectSettings()
        self._nlp, self._ordinary = _load(model or settings.ner_model)
        wanted = NAME_ENTITIES if settings.entities is None else frozenset(settings.entities)
        self._entity_of = {label: e for label, e in _ENTITY_OF.items() if e in wanted}
        self.languages = frozenset(settings.ner_languages)

    def detect(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """Disjoint spans of every text, sorted; one text's spans depend on it alone.

        The pipeline's memory zone frees what it noted about the words of ``texts``.
        """
        with self._nlp.memory_zone():
            return [
                self._spans(doc)
                for batch in _batches(texts)
                for doc in self._nlp.pipe(map(_breakable, batch), batch_size=len(batch))
            ]

    def _spans(self, doc: Any) -> tuple[Span, ...]:
        text = doc.text
        spans = []
        for found in doc.ents:
            entity = self._entity_of.get(found.label_)
            if entity is not None:
                start, end = _trim(text, found.start_char, found.end_char)
                name = text[start:end]
                if _plausible(name, entity) and not self._common(name, text):
                    spans.append(Span(start, end, entity, SCORE))
        return resolve(spans)

    def _common(self, name: str, text: str) -> bool:
        """Whether it is one ordinary word, or small where the text has capitals elsewhere."""
        if not self._ordinary:
            return False
        return name.lower() in self._ordinary or (
            name.islower() and _CAPITAL.search(text) is not None
        )


def _load(model: str | None) -> tuple[Language, frozenset[str]]:
    folder = model_files.MODEL if model is None else Path(model)
    ordinary: frozenset[str] = frozenset()
    if model is None or (folder / model_files.MANIFEST).is_file():
        nlp, ordinary = model_files.load(folder), model_files.ordinary_words(folder)
    else:
        try:
            nlp = spacy.load(model)
        except OSError as error:
            raise LookupError(
                f"the spaCy model {model!r} is not installed; install it, or leave "
                "`ner_model` out to use the shipped one"
            ) from error
    nlp.select_pipes(enable=[name for name in nlp.pipe_names if name in _KEEP])
    # The caller bounds texts; spaCy's own bound would raise.
    nlp.max_length = 1 << 31
    return nlp, ordinary


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


def _breakable(text: str) -> str:
    """The text with blanks for the signs in words of more than 64 characters.

    spaCy's tokenizer takes signs off a word one by one, in time that grows with the square of its
    length: twenty thousand brackets or emoji in a row would take minutes.
    """
    return _LONG_WORD.sub(_without_signs, text)


def _without_signs(word: re.Match[str]) -> str:
    return "".join(c if c.isalnum() else " " for c in word[0])


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Without quotes, brackets, separators at the edges, and without a final possessive s."""
    possessive = _POSSESSIVE.search(text, start, end)
    if possessive is not None:
        end = possessive.start()
    while start < end and text[start] in _EDGES:
        start += 1
    while start < end and text[end - 1] in _EDGES:
        end -= 1
    return start, end


def _plausible(name: str, entity: str) -> bool:
    """Whether it can be a name at all: has letters, is no identifier of a program.

    An address has a number, which is not that of a list's item; a person has none.
    """
    if sum(map(str.isalpha, name)) < 2 or _CODE.search(name):
        return False
    if entity == "STREET_ADDRESS":
        return any(map(str.isdigit, name)) and _LISTED.match(name) is None
    return entity != "PERSON" or not any(map(str.isdigit, name))
