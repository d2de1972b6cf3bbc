"""Whatever the order of the records, their partitions, copies and runs: one result.

``SEED`` repeats a run, ``EXAMPLES`` says how many logs the long test tries.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from flows import worker
from flows.filelog import PARTITIONS, LogWriter, NewRecord
from tests.e2e.conversations import Conversation, pools
from tests.e2e.derived import Derived, setup_of
from tests.faults.harness import Bench
from tests.generate import read_log
from tests.reference import Expected, derive

SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
EXAMPLES = int(os.environ.get("EXAMPLES", "25"))
MODES = ("off", "inline")
SECTIONS = (
    '[embed]\nmode = "{}"\n[pii.detect]\nnames = false\n'
    "[worker]\nepoch_seconds = 0.05\nchunk_events = {}\n"
)


class Log(NamedTuple):
    """Records in their own order, the runs in which they come, and settings of the worker."""

    records: tuple[NewRecord, ...]
    runs: tuple[tuple[NewRecord, ...], ...]
    chunk: int
    embed: str

    def __repr__(self) -> str:
        return f"runs of {[len(r) for r in self.runs]}, chunks of {self.chunk}, embed {self.embed}"


def log_of(dice: random.Random) -> Log:
    """Drawn evenly: of what is copied, shuffled and cut, hypothesis's small cases say little."""
    odd, plain, broken = pools()
    chosen: list[Conversation] = [
        *dice.sample(odd, dice.randrange(2, 5)),
        *dice.sample(plain, dice.randrange(1, 4)),
        *dice.sample(broken, dice.randrange(1, 5)),
    ]
    records = [record for conversation in chosen for record in conversation[:40]]
    mixed = records + dice.choices(records, k=dice.randrange(2, 13))
    dice.shuffle(mixed)
    placed = tuple(
        NewRecord(
            r.topic, r.value, r.timestamp, r.key, r.headers, dice.randrange(PARTITIONS[r.topic])
        )
        for r in mixed
    )
    cuts = [0, *sorted(dice.sample(range(1, len(placed)), dice.randrange(4))), len(placed)]
    runs = tuple(placed[a:b] for a, b in pairwise(cuts))
    return Log(tuple(records), runs, dice.choice((1, 7, 500)), dice.choice(MODES))


def tried(count: int) -> Callable[[Callable[[Log], None]], Any]:
    """Runs a test on so many logs."""

    def decorate(test: Callable[[Log], None]) -> Any:
        runner = settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        return seed(SEED)(runner(given(log=st.randoms(use_true_random=True).map(log_of))(test)))

    return decorate


@tried(4)
def test_order_copies_and_runs_are_nothing_to_the_stores(log: Log) -> None:
    _check(log)


@pytest.mark.slow
@pytest.mark.timeout(900)
@tried(EXAMPLES)
def test_order_copies_and_runs_are_nothing_to_the_stores_in_many_logs(log: Log) -> None:
    _check(log)


def _check(log: Log) -> None:
    with TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder) / "bench", Path(folder) / "log", SECTIONS.format(log.embed, log.chunk)
        )
        print(f"SEED={SEED} {log!r}")
        sizes = []
        for run in log.runs:
            LogWriter(bench.log).append(run)
            sizes.append(worker.run(bench.settings()).events)
        assert sizes == [len(run) for run in log.runs]
        derived = Derived(read_log(bench.log), bench.settings())
        derived.check(bench.settings())
        straight = _straight(log.records, bench)
    assert straight.graph_hash() == derived.expected.graph_hash()
    assert straight.vectors == derived.expected.vectors
    assert straight.points == derived.expected.points
    assert straight.documents == derived.expected.documents


def _straight(records: Sequence[NewRecord], bench: Bench) -> Expected:
    """What follows from the records in their own order, each once."""
    plain = bench.folder / "plain"
    LogWriter(plain).append(records)
    return derive(read_log(plain), setup_of(bench.settings()))


def test_the_logs_hold_what_matters() -> None:
    """Enough of each kind to choose from."""
    assert min(map(len, pools())) > 20
