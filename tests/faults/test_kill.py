"""``SIGKILL`` at random moments, again and again: what is stored is as if nothing had happened.

``make kills`` makes a hundred of them on 20,000 events.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.contents import assert_same, contents, fates
from tests.faults.harness import Bench, Progress
from tests.generate import write_log

KILLS = int(os.environ.get("KILLS", "10"))
EVENTS = 20_000 if KILLS > 10 else 6_000
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STAGES = ("validate", "dedupe", "text", "pii", "embed", "lookup", "extract")
EARLY = 0.1
"""Share of the kills that come at any moment after the start, often before the first event."""


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_killed_workers_leave_what_an_undisturbed_one_leaves(tmp_path: Path) -> None:
    print(f"SEED={SEED} KILLS={KILLS} EVENTS={EVENTS}")
    dice = random.Random(SEED)
    records = write_log(tmp_path / "log", EVENTS)
    calm = Bench(tmp_path / "calm", tmp_path / "log")
    calm.run("--json")
    expected = contents(calm.database)

    bench = Bench(tmp_path / "killed", tmp_path / "log")
    progress = Progress(bench)
    kills: Counter[str] = Counter()
    uncommitted = 0
    targets = sorted(dice.randrange(EVENTS * 98 // 100) for _ in range(KILLS))
    for target in targets:
        with bench.worker("--json") as worker:
            if dice.random() < EARLY:
                worker.until((bench.data / "worker.lock").exists, "the start")
            else:
                worker.until(progress.at_least(target), f"event {target}")
            worker.until(progress.for_seconds(dice.uniform(0, 0.6)), "the kill")
            worker.kill()
        assert worker.process.returncode == -signal.SIGKILL
        mark = bench.mark()
        kills[STAGES[mark.stage] if mark else "between the stages"] += 1
        uncommitted += progress() > bench.committed()
    ended = bench.run("--json")

    print(f"killed in: {dict(kills)}; {uncommitted} with work not committed")
    print(f"fates: {dict(fates(bench.database, records))}")
    assert sum(kills[stage] for stage in STAGES) >= KILLS // 2
    assert uncommitted >= KILLS // 2
    assert '"lag": 0' in ended.out
    assert_same(expected, contents(bench.database))
    assert fates(bench.database, records)["lost"] == 0
    assert fates(calm.database, records)["lost"] == 0
    codes = {row[1] for row in contents(bench.database).tables["dead letters"].values()}
    assert not codes & {"process_killed", "internal_error", "time_budget"}
