"""A log of 20,000 generated events, through the real worker, against the reference.

``SEED`` repeats a run.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.derived import Derived
from tests.faults.harness import Bench
from tests.generate import directory_toml, write_log

EVENTS = 20_000
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_event_by_event(tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    records = write_log(tmp_path / "log", EVENTS, SEED)
    bench = Bench(tmp_path / "bench", tmp_path / "log")
    (bench.folder / "users.toml").write_text(directory_toml(SEED), "utf-8")
    summary = json.loads(bench.run("--json").out)
    assert (summary["events"], summary["lag"], summary["troubles"]) == (len(records), 0, {})

    derived = Derived(records, bench.settings())
    expected = derived.expected
    derived.check(bench.settings())
    assert summary["duplicates"] == expected.duplicates
    assert sum(row["events"] for row in summary["rejected"]) == len(expected.dead)

    states = Counter(expected.states.values())
    again = sum(map(len, expected.copies.values())) - len(expected.copies) - expected.duplicates
    print(f"states: {dict(states)}, duplicates: {expected.duplicates}, written again: {again}")
    assert min(states["complete"], states["orphan"]) > 20
    assert min(expected.duplicates, again, len(expected.dead)) > 0
