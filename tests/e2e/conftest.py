"""Workers of these tests, in this process and in others, share one master key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.keys import VARIABLE
from tests.faults.harness import KEY

pytest.register_assert_rewrite("tests.e2e.columns", "tests.e2e.derived")


@pytest.fixture(scope="module", autouse=True)
def master_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        yield
