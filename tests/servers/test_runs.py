"""A test run starts each shared server once for all of its processes, and ends what it started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local import process
from deploy.local.server import Server
from tests.servers import plugin

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
NOTE = """
import json, os, pathlib, pytest

@pytest.fixture
def note(request, server_run):
    def note(**more):
        folder = pathlib.Path(os.environ["NOTES"])
        line = {"worker": os.environ.get("PYTEST_XDIST_WORKER", ""), "test": request.node.name,
                "run": str(server_run.folder), **more}
        name = request.node.name + request.path.stem
        (folder / (name + ".new")).write_text(json.dumps(line))
        (folder / (name + ".new")).rename(folder / (name + ".json"))
    return note
"""
MODULE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(registry, note, number):
    note(target=registry.target)

@pytest.mark.xdist_group("alone")
def test_alone(note):
    note()
"""
FROZEN = """
import time

def test_it(registry, note):
    note(target=registry.target)
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of tests that use the plugin, with a folder of its own for temporary files."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    found = tmp_path / "project"
    found.mkdir()
    (found / "pytest.ini").write_text("[pytest]\nmarkers =\n    servers: real ones\n")
    (found / "conftest.py").write_text(f'pytest_plugins = ["tests.servers.plugin"]\n{NOTE}')
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("TMPDIR", str(temporary))
    for name in ("TEST_SERVERS", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield found
    for state in temporary.glob("*/*.json"):
        Server.load(state).kill()


def command(project: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(project)]


def notes(project: Path) -> list[dict[str, str]]:
    return [json.loads(path.read_text()) for path in (project.parent / "notes").glob("*.json")]


def runs(project: Path) -> list[Path]:
    return list((project.parent / "tmp").glob("memory-graph-tests-*"))


def test_processes_share_a_server_and_keep_groups_together(project: Path) -> None:
    for name in ("one", "two", "three"):
        (project / f"test_{name}.py").write_text(MODULE)
    spread = ["-n", "2", "--dist", "loadscope"]
    done = subprocess.run(command(project, *spread), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = notes(project)
    assert len(found) == 12
    assert {note["worker"] for note in found} == {"gw0", "gw1"}
    assert len({note["target"] for note in found if "target" in note}) == 1
    alone = {note["worker"] for note in found if note["test"].startswith("test_alone")}
    assert len(alone) == 1
    assert runs(project) == []
    assert not Path(found[0]["run"]).exists()


def test_what_a_killed_run_left_is_ended_by_the_next(project: Path) -> None:
    (project / "test_frozen.py").write_text(FROZEN)
    with subprocess.Popen(
        command(project), stdout=subprocess.DEVNULL, start_new_session=True
    ) as first:
        deadline = time.monotonic() + PATIENCE
        while not notes(project):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (run,) = runs(project)
        left = Server.load(run / "registry.json")
        left.wait_ready()
        os.killpg(first.pid, signal.SIGKILL)
    assert left.is_alive
    (project / "test_frozen.py").write_text("def test_nothing(): pass\n")
    done = subprocess.run(command(project), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not left.is_alive
    assert runs(project) == []


def test_servers_that_run_elsewhere_are_used(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project / "servers.json"
    elsewhere.write_text(json.dumps({"registry": {"target": "127.0.0.1:1"}}))
    monkeypatch.setenv("TEST_SERVERS", str(elsewhere))
    (project / "test_one.py").write_text(MODULE)
    done = subprocess.run(command(project), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {note.get("target", "127.0.0.1:1") for note in notes(project)} == {"127.0.0.1:1"}


def test_tests_that_ask_for_foreign_servers_are_left_out_without(project: Path) -> None:
    (project / "test_two.py").write_text(
        "def test_redis(redis): pass\n"
        "def test_own(own_server): pass\n"
        "def test_ours(registry): pass\n"
        "def test_none(): pass\n"
    )
    selected = command(project, "--collect-only", "-m", "not servers")
    done = subprocess.run(selected, capture_output=True, text=True, check=False)
    assert "test_ours" in done.stdout
    assert "2/4 tests collected" in done.stdout


LEFT = f"memory-graph-tests-{os.geteuid()}-left"


@pytest.mark.parametrize("when", ["stat", "leader", "load", "end"])
def test_two_runs_may_end_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """While one looks at what was left, another that began at the same moment removes it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / LEFT
    left.mkdir()
    server = Server.make("registry", left / "registry", state=left / "registry.json")
    server._save()
    dead = msgspec.structs.replace(process.identify(os.getpid()), started=1)
    (left / "leader").write_bytes(msgspec.json.encode(dead))
    removed: list[str] = []

    def removing(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **more: Any) -> Any:
            if LEFT in str(args[0]) or args[0] == dead:
                shutil.rmtree(left, ignore_errors=True)
                removed.append(when)
            return original(*args, **more)

        monkeypatch.setattr(owner, name, call)

    removing(*{
        "stat": (Path, "stat"), "leader": (Path, "read_bytes"), "load": (process, "is_alive"),
        "end": (Server, "load"),
    }[when])  # fmt: skip
    folder = plugin._begin()
    assert removed
    assert list(tmp_path.iterdir()) == [folder]
