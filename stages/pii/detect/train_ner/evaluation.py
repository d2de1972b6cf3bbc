"""Scores on presidio-research's synth_v2, a test set: nothing here is ever trained on."""

from __future__ import annotations

import json
from pathlib import Path

from ..names import NameDetector
from . import scoring
from .examples import Example

GOLD_LABEL = {
    "PERSON": "PERSON",
    "ORGANIZATION": "ORGANIZATION",
    "GPE": "LOCATION",
    "STREET_ADDRESS": "STREET_ADDRESS",
}
NAMES = ("PERSON", "ORGANIZATION", "LOCATION")
IOU = 0.75


def held_out(
    detector: NameDetector, parts: dict[str, list[Example]]
) -> dict[str, dict[str, scoring.Score]]:
    """Exact-match scores of the whole detector on the parts held out of training."""
    return {
        name: scoring.score(
            zip([e.spans for e in part], _found(detector, [e.text for e in part]), strict=True),
            NAMES,
        )
        for name, part in parts.items()
    }


def presidio(detector: NameDetector, path: Path) -> dict[str, dict[str, scoring.Score]]:
    """Scores of the whole detector at IoU .75, for names alone and with street addresses.

    A name found inside a span of another kind (an address, a title) counts as wrong.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = _found(detector, [row["full_text"] for row in rows])
    gold = [
        [
            (s["start_position"], s["end_position"], GOLD_LABEL[s["entity_type"]])
            for s in row["spans"]
            if s["entity_type"] in GOLD_LABEL
        ]
        for row in rows
    ]
    pairs = list(zip(gold, found, strict=True))
    return {
        "names": scoring.score(pairs, NAMES, IOU),
        "names_and_addresses": scoring.score(pairs, (*NAMES, "STREET_ADDRESS"), IOU),
    }


def _found(detector: NameDetector, texts: list[str]) -> list[list[scoring.Labelled]]:
    return [[(s.start, s.end, s.entity) for s in spans] for spans in detector.detect(texts)]
