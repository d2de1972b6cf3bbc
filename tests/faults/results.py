"""What is kept of the long runs: ``RESULTS=PATH`` writes what became of each scenario to a file.

Scenarios that are there already stay, until they are run again: a long run may be made in parts.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine
from deploy.local.kinds.base import PROGRAMS
from tests.faults.fleet import KINDS
from tests.faults.load import EVENTS, SEED

TEXTS = "a generated log (tests/generate)"


class Results:
    """A plugin of pytest. What a scenario says of itself (``record_property``) is kept with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts = machine.facts()
        servers = {
            f"{kind} server": PROGRAMS[kind]["version"] for kind in KINDS if kind in PROGRAMS
        }
        self._facts["versions"] |= servers
        self._load = machine.load()
        self._started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "servers" not in report.keywords or (report.when != "call" and report.passed):
            return
        row = {
            "scenario": report.nodeid.rpartition("::")[2],
            "seed": SEED,
            "events": EVENTS,
            **dict(report.user_properties),
            "seconds": round(report.duration, 1),
            "outcome": report.outcome if report.when == "call" else f"{report.when} failed",
            **{name: self._facts[name] for name in ("date", "commit", "changed_files")},
        }
        rows = {kept["scenario"]: kept for kept in self._kept()} | {row["scenario"]: row}
        whole = {
            "name": "faults",
            **self._facts,
            "load": {"before": self._load, "after": machine.load()},
            "seconds": round(time.monotonic() - self._started, 1),
            "texts": TEXTS,
            "result": {"scenarios": [rows[name] for name in sorted(rows)]},
        }
        self._path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def _kept(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return list(json.loads(self._path.read_text(encoding="utf-8"))["result"]["scenarios"])
