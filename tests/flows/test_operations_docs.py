"""docs/operations.md names every metric, exit state and code."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from flows.ingest import STAGES
from flows.metrics import PREFIX, Metrics
from flows.prove.report import State

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_every_metric_is_documented() -> None:
    for family in Metrics(STAGES).registry.collect():
        name = family.name.removeprefix(PREFIX)
        shown = f"{name}_total" if family.type == "counter" else name
        assert f"`{shown}`" in TEXT, shown


def test_every_state_of_an_offset_is_documented() -> None:
    for state in get_args(State):
        assert state == "unaccounted" or f"`{state}`" in TEXT
