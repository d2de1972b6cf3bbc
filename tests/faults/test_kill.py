"""``SIGKILL`` at random moments, again and again: what is stored is as if nothing had happened.

``make kills`` makes a hundred of them on 20,000 events.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.contents import assert_same, contents, fates
from tests.faults.harness import Bench, Progress
from tests.generate import write_log

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STAGES = ("validate", "dedupe", "text", "pii", "embed", "lookup", "extract")
FAST = '[embed]\nmode = "off"\n[pii.detect]\nnames = false\n'
SPREAD = 0.4
"""Seconds after the chosen event within which the kill falls: a little less than an epoch."""
MODES = ("with models", "without models")
EARLY = 0.1
"""Share of the kills that come at any moment after the start, often before the first event."""


class Killer:
    """Kills the worker of a bench when it has reached a chosen part of the log."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self._bench = bench
        self._dice = dice
        self._progress = Progress(bench)
        self.kills: Counter[str] = Counter()
        self.uncommitted = 0

    def kill(self, target: int) -> bool:
        """Starts a worker and kills it; False when it came to the end of the log before."""
        dice, progress = self._dice, self._progress
        with self._bench.worker("--json") as worker:
            if dice.random() < EARLY:
                reached = worker.reaches((self._bench.data / "worker.lock").exists)
            else:
                reached = worker.reaches(worker.reads) and worker.reaches(progress.at_least(target))
            reached = reached and worker.reaches(progress.for_seconds(dice.uniform(0, SPREAD)))
            if not reached:
                worker.wait(0)
                return False
            worker.kill()
        mark = self._bench.mark()
        self.kills[STAGES[mark.stage] if mark else "between the stages"] += 1
        self.uncommitted += progress() > self._bench.committed()
        return True


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("sections", "events"), [("", 6_000), (FAST, 20_000)], ids=MODES)
def test_killed_workers_leave_what_an_undisturbed_one_leaves(
    sections: str, events: int, tmp_path: Path
) -> None:
    events = max(events, 20_000 if KILLS > 10 else 0)
    print(f"\nSEED={SEED} KILLS={KILLS} events={events}")
    dice = random.Random(SEED)
    records = write_log(tmp_path / "log", events)
    calm = Bench(tmp_path / "calm", tmp_path / "log", sections)
    calm.run("--json")
    expected = contents(calm.database)
    assert fates(calm.database, records)["lost"] == 0

    bench = Bench(tmp_path / "killed", tmp_path / "log", sections)
    killer = Killer(bench, dice)
    for target in sorted(dice.randrange(events * 95 // 100) for _ in range(KILLS)):
        if not killer.kill(target):
            break
    ended = bench.run("--json")

    kills = killer.kills
    print(f"killed in: {dict(kills)}; {killer.uncommitted} with work not committed")
    print(f"fates: {dict(fates(bench.database, records))}")
    assert kills.total() >= KILLS * 4 // 5
    assert killer.uncommitted >= KILLS // 4  # As far as seen from outside: it is mostly more.
    if not sections:
        assert sum(kills[stage] for stage in STAGES) >= KILLS // 2
    assert json.loads(ended.out)["lag"] == 0
    assert_same(expected, contents(bench.database))
    assert fates(bench.database, records)["lost"] == 0
    codes = {row[1] for row in contents(bench.database).tables["dead letters"].values()}
    assert not codes & {"process_killed", "internal_error", "time_budget"}
