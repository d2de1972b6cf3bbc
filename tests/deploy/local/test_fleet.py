"""All servers of a folder: one start, one stop, the same ports and data, settings that hold."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import settings
from deploy.local.__main__ import main
from deploy.local.fleet import Fleet
from deploy.local.kinds import KINDS
from deploy.local.ports import HOST, is_free
from deploy.local.process import is_alive
from deploy.local.server import Server
from flows.keys import VARIABLE
from flows.settings import load_settings

ROOT = Path(__file__).parents[3]
OURS = ["pinecone", "registry"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "servers"
    yield found
    Fleet(found).stop()


def start(folder: Path, *kinds: str) -> int:
    return main(["start", "--folder", str(folder), *(kinds or OURS)])


def known(folder: Path, kind: str) -> Server:
    return Server.load(folder / f"{kind}.json")


def test_start_status_stop(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = ["status", "--folder", str(folder)]
    assert main(status) == 1
    assert "No server was ever started" in capsys.readouterr().out
    assert start(folder) == 0
    assert main(status) == 0
    out = capsys.readouterr().out
    assert out.count(" answers ") == 4  # Said by the start and by the status.
    known(folder, "pinecone").kill()
    assert main(status) == 1
    assert "does not run" in capsys.readouterr().out
    registry = known(folder, "registry")
    assert main(["stop", "--folder", str(folder)]) == 0
    assert capsys.readouterr().out == "registry has ended\n"
    assert not registry.is_alive
    assert main(["stop", "--folder", str(folder)]) == 0
    assert "No server of" in capsys.readouterr().out


def test_a_second_start_starts_what_does_not_run_where_it_was(folder: Path) -> None:
    assert start(folder) == 0
    toml, variables = (folder / "servers.toml").read_text(), (folder / "servers.env").read_text()
    runs, fell = known(folder, "registry"), known(folder, "pinecone")
    fell.kill()
    assert start(folder) == 0
    assert known(folder, "registry").pid == runs.pid
    assert known(folder, "pinecone").pid != fell.pid
    assert known(folder, "pinecone").address == fell.address
    assert (folder / "servers.toml").read_text() == toml
    assert (folder / "servers.env").read_text() == variables


def test_a_port_that_somebody_took_is_replaced_and_the_secret_kept(folder: Path) -> None:
    assert start(folder, "pinecone") == 0
    before = known(folder, "pinecone")
    Fleet(folder).stop()
    with socket.create_server((HOST, before.ports["http"])):
        assert start(folder, "pinecone") == 0
    after = known(folder, "pinecone")
    assert after.ports["http"] != before.ports["http"]
    assert after.record.secrets == before.record.secrets
    assert str(after.ports["http"]) in (folder / "servers.toml").read_text()


def test_of_two_starts_at_once_one_starts_and_both_find_it(folder: Path) -> None:
    command = [sys.executable, "-m", "deploy.local", "start", "--folder", str(folder), "registry"]
    starters = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    shown = [starter.communicate(timeout=120)[0] for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0]
    assert shown[0] == shown[1]
    server = known(folder, "registry")
    running = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"--port\0{server.ports['grpc']}\0".encode() in read(path)
    ]
    assert running == [str(server.pid)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # It ended meanwhile.


def test_when_one_fails_those_that_were_started_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(folder, "registry") == 0
    registry, pinecone = known(folder, "registry"), KINDS["pinecone"]
    monkeypatch.setattr(pinecone, "is_ready", lambda place: kill(folder))
    assert start(folder) == 2
    assert "pinecone ended while it started" in capsys.readouterr().err
    assert not known(folder, "pinecone").is_alive
    assert is_free(known(folder, "pinecone").ports["http"])
    assert registry.record.process is not None
    assert is_alive(registry.record.process)


def kill(folder: Path) -> bool:
    known(folder, "pinecone").kill()
    return False


def test_the_worker_takes_the_settings_and_the_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [Server.make(kind, folder / kind) for kind in KINDS]
    folder.mkdir()
    toml = settings.write(folder, every, {"lookup": {"users": "users.toml"}})
    variables = folder / "servers.env"
    assert variables.stat().st_mode & 0o777 == 0o600
    for line in variables.read_text().splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    assert len(base64.b64decode(os.environ[VARIABLE], validate=True)) == 32
    found = load_settings(toml)
    embedded = {role for role, name in found.backends if name in ("sqlite", "files")}
    assert embedded == set()
    address = {server.record.kind: server.address for server in every}
    assert found.kafka.bootstrap_servers == address["kafka"].bootstrap
    assert found.influxdb.token.get_secret_value() == address["influxdb"].token
    assert found.pinecone.api_key.get_secret_value() == address["pinecone"].api_key
    assert found.lookup.registry_address == address["registry"].target
    assert found.worker.data == folder / "worker"
    for server in every:
        for secret in server.record.secrets.values():
            assert secret not in toml.read_text()


def test_what_was_not_started_stays_embedded(folder: Path) -> None:
    folder.mkdir()
    toml = settings.write(folder, [Server.make("redis", folder / "redis")], {})
    assert tomllib.loads(toml.read_text())["backends"] == {"state": "redis"}
    assert load_settings(toml).backends.graph == "sqlite"


def test_a_machine_that_lacks_something_is_told_and_nothing_starts(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["start", "--folder", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "This machine lacks:" in told
    assert "Traceback" not in told
    assert Fleet(folder).states() == []


def test_a_start_that_is_interrupted_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(place: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(KINDS["registry"], "is_ready", interrupt)
    assert start(folder) == 130
    assert [state.runs for state in Fleet(folder).states()] == [False, False]
