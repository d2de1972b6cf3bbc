"""Scores on presidio-research's synth_v2, a test set: nothing here is ever trained on."""

from __future__ import annotations

import json
from pathlib import Path

from ..names import NameDetector
from . import scoring

GOLD_LABEL = {
    "PERSON": "PERSON",
    "ORGANIZATION": "ORGANIZATION",
    "GPE": "LOCATION",
    "STREET_ADDRESS": "STREET_ADDRESS",
}
NAMES = ("PERSON", "ORGANIZATION", "LOCATION")
IOU = 0.75


def presidio(detector: NameDetector, path: Path) -> dict[str, dict[str, scoring.Score]]:
    """Scores of the whole detector at IoU .75, for names alone and with street addresses.

    A name found inside a span of another kind (an address, a title) counts as wrong.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = [
        [(span.start, span.end, span.entity) for span in spans]
        for spans in detector.detect([row["full_text"] for row in rows])
    ]
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
