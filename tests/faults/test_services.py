"""The real clients of registry, directory and embedding service, while these come and go."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import directory
from deploy.local.directory import DirectoryServer
from deploy.local.registry import RegistryServer
from flows.enrich import enrich
from flows.filelog import LogWriter
from flows.keys import VARIABLE, load_keys
from flows.pipeline import build_pii
from flows.settings import Settings
from flows.worker import run
from stages.lookup import shipped_models
from tests.faults.contents import assert_same, contents
from tests.faults.harness import KEY, Bench
from tests.faults.test_canaries import Planted, haystacks
from tests.generate import generate
from tests.stages.embed.services import Service, openai

SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
COUNT = 400
COMMON = (
    "[pii.detect]\nnames = false\n[worker]\nepoch_seconds = 0.05\nchunk_events = 40\n"
    '[embed]\nprovider = "openai"\ndimensions = 384\nretries = 0\ntimeout_seconds = 5\n'
    'base_url = "http://127.0.0.1:{embedder}/v1"\n'
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("MEMORY_GRAPH_EMBED__API_KEY", "sk-test-1")


class Outside:
    """The three services, on ports that they keep."""

    def __init__(self, users: Path) -> None:
        self.users = users
        self.screen: Any = str
        self.embedder = Service(openai)
        self.ports = {"embedder": self.embedder.port, "registry": 0, "directory": 0}
        self.up = False

    def start(self) -> None:
        self.embedder.failures = []
        self.registry = RegistryServer([shipped_models()])
        self.ports["registry"] = self.registry.start(self.ports["registry"])
        self.directory = DirectoryServer(self.users, self.screen)
        self.ports["directory"] = self.directory.start(self.ports["directory"])
        self.up = True

    def stop(self) -> None:
        """Nothing listens where registry and directory were; the embedder answers with errors."""
        if self.up:
            self.registry.close()
            self.directory.close()
        self.embedder.failures = [(503, {"Retry-After": "0"}, {})] * 100_000
        self.up = False

    def close(self) -> None:
        self.stop()
        self.embedder.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    made = Outside(tmp_path / "away" / "users.toml")
    yield made
    made.close()


def near_and_far(bench: Bench, outside: Outside) -> Settings:
    """The settings with all three services in them; they are up."""
    outside.screen = screen_of(bench.settings())
    outside.start()
    text = bench.config.read_text("utf-8").replace(
        "[lookup]\n",
        '[lookup]\nregistry = "grpc"\nregistry_plaintext = true\ndirectory = "http"\n'
        f'registry_address = "127.0.0.1:{outside.ports["registry"]}"\n'
        f'directory_url = "http://127.0.0.1:{outside.ports["directory"]}"\n'
        "registry_deadline_seconds = 60\ndirectory_deadline_seconds = 60\n",
    )
    bench.config.write_text(text, "utf-8")
    return bench.settings()


def screen_of(settings: Settings) -> Any:
    settings.data.mkdir(parents=True, exist_ok=True)
    return build_pii(settings, load_keys(settings.data)).screen_identifier


def test_services_that_go_away_leave_nothing_behind(tmp_path: Path, outside: Outside) -> None:
    print(f"SEED={SEED}")
    records = list(generate(COUNT, SEED))
    LogWriter(tmp_path / "log").append(records)
    here = COMMON.format(embedder=outside.embedder.port)
    near = Bench(tmp_path / "near", tmp_path / "log", here)
    run(near.settings())
    expected = contents(near.database)

    away = Bench(tmp_path / "away", tmp_path / "parts", here)
    settings = near_and_far(away, outside)
    writer = LogWriter(away.log)
    third = COUNT // 3
    backlog = []
    for up, part in zip(
        (True, False, True), (records[:third], records[third:-third], records[-third:]), strict=True
    ):
        writer.append(part)
        if up and not outside.up:
            outside.start()
        elif not up:
            outside.stop()
        run(settings)
        backlog.append(int(away.query("SELECT count(*) FROM requests")[0][0]))
    assert backlog[0] == 0
    assert 0 < backlog[1] >= backlog[2]
    progress = enrich(settings)
    assert progress.left == 0
    assert progress.completed >= backlog[2]
    assert_same(expected, contents(away.database))
    assert progress.usage["tokens"] > 0
    # text-embedding-3-small: 0.02 USD per million tokens.
    assert progress.usage["cost_pico_usd"] == progress.usage["tokens"] * 20_000


def test_no_marker_goes_out_to_a_service_or_waits_in_the_queue(
    tmp_path: Path,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What is asked, embedded and queued is screened; secrets are in headers only."""
    planted = Planted(tmp_path / "log")
    needles = planted.needles()
    needles.secret(b"sk-test-1", "the embedding service's key")
    sent: dict[str, list[bytes]] = {"directory": [], "registry": []}
    users, batch = directory._users, RegistryServer.BatchGetModels

    def recorded_users(body: bytes) -> Any:
        sent["directory"].append(body)
        return users(body)

    def recorded_models(self: RegistryServer, request: Any, context: Any) -> Any:
        sent["registry"].append("\n".join(request.model_ids).encode())
        return batch(self, request, context)

    monkeypatch.setattr(directory, "_users", recorded_users)
    monkeypatch.setattr(RegistryServer, "BatchGetModels", recorded_models)
    bench = Bench(
        tmp_path / "away", tmp_path / "log", COMMON.format(embedder=outside.embedder.port)
    )
    settings = near_and_far(bench, outside)
    outside.stop()
    outside.embedder.requests.clear()
    run(settings)
    assert bench.query("SELECT count(*) FROM requests")[0][0] > 0
    files = haystacks(bench, {})
    outside.start()
    progress = enrich(settings)
    assert progress.left == 0
    assert all(sent.values())
    bodies = json.dumps(outside.embedder.requests, ensure_ascii=False).encode()
    assert b"<EMAIL_ADDRESS>" in bodies
    out, err = capfd.readouterr()
    extra = {name: b"\n".join(found) for name, found in sent.items()}
    extra |= {"embedder": bodies, "output": (out + err).encode()}
    everything = files | {f"{n}, in the end": d for n, d in haystacks(bench, extra).items()}
    found = {name: places for name, data in everything.items() if (places := needles.found(data))}
    assert found == {}
