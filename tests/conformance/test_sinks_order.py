"""Whatever the order, the batches, the repetitions: the same is stored."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.records import STORES, Record, Store
from tests.conformance.discovery import sink_params
from tests.conformance.factories import SINKS
from tests.conformance.records import identity, record

KEYS = st.tuples(
    st.integers(0, 4), st.integers(1, 4), st.sampled_from(("prompt", "response", "session"))
)
_COUNTER = itertools.count()


def run(
    sink: type,
    folder: Path,
    request: pytest.FixtureRequest,
    batches: list[list[Record]],
    erased: list[int],
) -> object:
    """Everything stored after these batches, if some ids were erased before.

    (Erased afterwards, a record leaves behind what it shares: hubs that other records may hold.)
    """
    here = folder / str(next(_COUNTER))
    harness = SINKS[sink](here, request)
    try:
        opened = harness.open()
        opened.delete([identity(n) for n in erased])
        for batch in batches:
            assert {result.status for result in opened.write(batch)} <= {"written", "erased"}
        return harness.dump()
    finally:
        harness.close()
        shutil.rmtree(here, ignore_errors=True)


def any_order(
    sink: type, data: st.DataObject, factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    store: Store = sink.store  # type: ignore[attr-defined]
    assert store in STORES
    keys = data.draw(st.lists(KEYS, min_size=1, max_size=16))
    records = [record(store, number, version, kind) for number, version, kind in keys]
    shuffled = data.draw(st.permutations(records)) + data.draw(
        st.lists(st.sampled_from(records), max_size=4)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    batches = [shuffled[a:b] for a, b in itertools.pairwise([0, *cuts, len(shuffled)])]
    erased = data.draw(st.lists(st.integers(0, 5), max_size=2))
    folder = factory.getbasetemp() / "order"
    once = sorted(records, key=lambda r: (r.stamp.version, r.stamp.record_id))
    first = run(sink, folder, request, batches, erased)
    assert first == run(sink, folder, request, [once], erased)


_BOTH = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@pytest.mark.parametrize("sink", [param for param in sink_params() if not param.marks])
@settings(max_examples=30, **_BOTH)
@given(data=st.data())
def test_any_order_gives_the_same(
    sink: type,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    any_order(sink, data, tmp_path_factory, request)


@pytest.mark.parametrize("sink", [param for param in sink_params() if param.marks])
@settings(max_examples=6, phases=[Phase.explicit, Phase.generate], **_BOTH)
@given(data=st.data())
def test_any_order_gives_the_same_on_a_server(
    sink: type,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    """Fewer examples, not made smaller: each makes stores anew."""
    any_order(sink, data, tmp_path_factory, request)
