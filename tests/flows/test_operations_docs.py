"""docs/operations.md names every metric, exit state and code."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from flows.draining import DrainHealth, collector
from flows.ingest import STAGES
from flows.metrics import PREFIX, Metrics
from flows.prove.report import State

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_every_metric_is_documented() -> None:
    draining = DrainHealth(1, 0.0, "ok", "", True, 0.0, {}, {}, {}, {}, {}, {})
    registries = [Metrics(STAGES).registry, collector(lambda: draining)]
    for family in [one for registry in registries for one in registry.collect()]:
        name = family.name.removeprefix(PREFIX)
        shown = f"{name}_total" if family.type == "counter" else name
        assert f"`{shown}`" in TEXT, shown


def test_every_state_of_an_offset_is_documented() -> None:
    for state in get_args(State):
        assert state == "unaccounted" or f"`{state}`" in TEXT
