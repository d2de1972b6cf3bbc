"""Which words are ordinary: the training sentences use them in lower case, and never in a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from .examples import Example

_WORD = re.compile(r"[^\W\d_]+")


def unlabelled(examples: Iterable[Example]) -> Iterator[str]:
    """Every word outside of labelled spans, as written; parts of URLs and handles left out."""
    for example in examples:
        at = 0
        for start, end, _ in (*example.spans, (len(example.text), len(example.text), "")):
            for chunk in example.text[at:start].split():
                if chunk[0] not in "@#" and "/" not in chunk:
                    yield from _WORD.findall(chunk)
            at = end


def common_words(examples: Iterable[Example], least: int = 3) -> list[str]:
    """Lower-case words of three letters or more that occur ``least`` times unlabelled, sorted."""
    counts = Counter(word for word in unlabelled(examples) if word.islower() and len(word) > 2)
    return sorted(word for word, count in counts.items() if count >= least)


def ordinary_words(sentences: Iterable[Example], names: Iterable[Example]) -> list[str]:
    """Lower-case words of ``sentences`` that are no part of any span of ``names``, sorted."""
    in_names = {
        word.lower()
        for example in names
        for start, end, _ in example.spans
        for word in _WORD.findall(example.text[start:end])
    }
    return sorted(set(common_words(sentences, least=1)) - in_names)
