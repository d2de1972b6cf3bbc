"""A machine that lacks something is told of all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import needs
from deploy.local.failures import Lacking
from deploy.local.kinds import KINDS

FOREIGN = ("kafka", "neo4j", "elasticsearch", "influxdb", "redis")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing in its path and in its cache; the folder of its programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return programs


def program(folder: Path, name: str, says: str = "") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_everything_that_is_lacking_is_named_with_what_to_install(bare: Path) -> None:
    with pytest.raises(Lacking) as raised:
        needs.check(KINDS[kind] for kind in FOREIGN)
    told = str(raised.value)
    for tool in ("java", "javac", "mvn", "go", "cargo", "gcc", "pkg-config", "redis-server"):
        (line,) = (line for line in told.splitlines() if line.strip().startswith(f"{tool} ("))
        assert "not found; install " in line
    assert "mvn (kafka, neo4j, elasticsearch)" in told
    assert "install" in told.splitlines()[-1]


def test_what_is_cached_is_not_built_and_takes_no_tools(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = KINDS["influxdb"]
    with pytest.raises(Lacking):
        needs.check([kind])
    version = needs.PROGRAMS["influxdb"]["version"]
    (tmp_path / f"cache/llm-memory-graph/influxdb-{version}").mkdir(parents=True)
    needs.check([kind])


def test_our_own_servers_need_nothing(bare: Path) -> None:
    needs.check([KINDS["pinecone"], KINDS["registry"]])


@pytest.mark.parametrize(
    ("says", "trouble"),
    [
        ('openjdk version "17.0.15" 2025-04-15', ""),
        ('openjdk version "21" 2023-09-19', ""),
        ('openjdk version "11.0.2" 2019-01-15', r"version 11\.0\.2, at least 17 is needed"),
        ('java version "1.8.0_392"', r"version 1\.8\.0, at least 17 is needed"),
        ("no runtime present", "does not say its version"),
    ],
)
def test_java_may_be_too_old(bare: Path, says: str, trouble: str) -> None:
    program(bare, "java", says)
    program(bare, "mvn")
    if not trouble:
        needs.check([KINDS["kafka"]])
        return
    with pytest.raises(Lacking, match=trouble):
        needs.check([KINDS["kafka"]])


@pytest.mark.parametrize(("says", "enough"), [("go1.26.8", True), ("go1.22.12", False)])
def test_go_may_be_too_old(bare: Path, says: str, enough: bool) -> None:
    program(bare, "go", f"go version {says} linux/amd64")
    for tool in ("cargo", "gcc", "pkg-config"):
        program(bare, tool)
    if enough:
        needs.check([KINDS["influxdb"]])
        return
    with pytest.raises(Lacking, match=r"go \(influxdb\): version 1\.22\.12, at least 1\.23"):
        needs.check([KINDS["influxdb"]])


def test_root_may_install_redis_where_there_is_apt(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bare, "apt-get")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    needs.check([KINDS["redis"]])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Lacking, match="redis-server"):
        needs.check([KINDS["redis"]])
