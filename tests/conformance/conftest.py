"""A harness for each sink that was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.discovery import sink_params
from tests.conformance.factories import SINKS
from tests.conformance.harness import Harness


@pytest.fixture(params=sink_params())
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    made = SINKS[request.param](tmp_path / "store", request)
    yield made
    made.close()
