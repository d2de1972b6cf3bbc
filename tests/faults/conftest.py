"""One set of real servers, and one undisturbed run, for all scenarios of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fleet import Fleet, FleetBench, fleet
from tests.faults.load import EVENTS, SECRETS, SECTIONS, SEED, Calm, calm_run
from tests.faults.results import Results
from tests.servers.plugin import Run
from tests.stages.embed.services import Service, openai


def pytest_configure(config: pytest.Config) -> None:
    kept = os.environ.get("RESULTS")
    if kept:
        config.pluginmanager.register(Results(Path(kept)))


@pytest.fixture(scope="package")
def servers(server_run: Run) -> Iterator[Fleet]:
    """Tests that use it have the mark ``xdist_group("fleet")``, so that one process has them all.
    They may break it: who asks for a bench gets it healed."""
    with fleet(server_run) as found:
        yield found


@pytest.fixture(scope="package")
def sections() -> Iterator[str]:
    """Settings of every worker here."""
    embedder = Service(openai)
    yield SECTIONS.format(port=embedder.port)
    embedder.close()


@pytest.fixture
def bench(servers: Fleet, sections: str, tmp_path: Path) -> FleetBench:
    """Nothing is in any of the servers, and nothing is wrong with them."""
    servers.heal()
    servers.empty()
    return servers.bench(tmp_path / "bench", sections, SECRETS)


@pytest.fixture(scope="package")
def calm(tmp_path_factory: pytest.TempPathFactory, sections: str) -> Calm:
    print(f"\nSEED={SEED} EVENTS={EVENTS}")
    return calm_run(tmp_path_factory.mktemp("calm"), sections)
