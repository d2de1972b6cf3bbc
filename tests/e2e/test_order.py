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


@st.composite
def logs(draw: st.DrawFn) -> Log:
    def some(pool: list[Conversation], least: int, most: int) -> list[Conversation]:
        return draw(st.lists(st.sampled_from(pool), min_size=least, max_size=most, unique_by=id))

    odd, plain, broken = pools()
    chosen = [*some(odd, 2, 4), *some(plain, 1, 3), *some(broken, 1, 4)]
    records = [record for conversation in chosen for record in conversation[:40]]
    copies = draw(st.lists(st.sampled_from(records), min_size=2, max_size=12))
    order = draw(st.permutations([*records, *copies]))
    placed = tuple(
        NewRecord(
            r.topic, r.value, r.timestamp, r.key, r.headers,
            draw(st.integers(0, PARTITIONS[r.topic] - 1)),
        )
        for r in order
    )  # fmt: skip
    count = draw(st.integers(0, 3))
    inner = st.lists(st.integers(1, len(placed) - 1), min_size=count, max_size=count, unique=True)
    cuts = [0, *sorted(draw(inner)), len(placed)]
    runs = tuple(placed[a:b] for a, b in pairwise(cuts))
    return Log(
        tuple(records), runs, draw(st.sampled_from((1, 7, 500))), draw(st.sampled_from(MODES))
    )


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
        return seed(SEED)(runner(given(log=logs())(test)))

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
        sizes = []
        for run in log.runs:
            LogWriter(bench.log).append(run)
            sizes.append(worker.run(bench.settings()).events)
        print(f"SEED={SEED} runs of {sizes}, chunks of {log.chunk}, embed {log.embed}")
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
