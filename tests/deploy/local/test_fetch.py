"""Programs come into the cache whole, checked and once, or not at all."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from deploy.local.cache import cache_root, cached, check_folder, sha256
from deploy.local.failures import Corrupt, LocalError
from deploy.local.kinds import KINDS

FAKE_MAVEN = """\
#!/bin/sh
for option; do
  case $option in -DoutputDirectory=*) folder=${option#*=} ;; esac
done
echo forged > "$folder/$NAME"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache; the folder of the programs that come first in its path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return programs


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)


def left_in_cache() -> list[str]:
    return [path.name for path in cache_root().iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("kafka", "kafka_2.13-4.1.1.jar"), ("neo4j", "a.jar"), ("elasticsearch", "e.zip")],
)
def test_what_maven_delivers_is_checked(
    machine: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.setenv("NAME", name)
    program(machine, "mvn", FAKE_MAVEN)
    with pytest.raises(Corrupt, match="not kept"):
        KINDS[kind].fetch()
    assert left_in_cache() == []


def test_the_go_module_is_checked_before_it_is_built(machine: Path, tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    program(
        machine,
        "go",
        f'#!/bin/sh\n[ "$1" = mod ] || echo "$@" >> {builds}\n'
        'echo \'{"Sum": "h1:forged", "Dir": "/nowhere"}\'\n',
    )
    with pytest.raises(Corrupt, match="influxdb"):
        KINDS["influxdb"].fetch()
    assert not builds.exists()
    assert left_in_cache() == []


def test_a_program_that_fails_is_reported_with_the_end_of_what_it_said(machine: Path) -> None:
    program(machine, "mvn", "#!/bin/sh\necho 'no such artifact' >&2\nexit 1\n")
    with pytest.raises(LocalError, match="no such artifact"):
        KINDS["kafka"].fetch()
    assert left_in_cache() == []


def test_a_folder_holds_exactly_what_its_list_says(tmp_path: Path) -> None:
    folder = tmp_path / "jars"
    folder.mkdir()
    for name in ("one.jar", "two.jar"):
        (folder / name).write_text(name)
    sums = tmp_path / "jars.sha256"
    sums.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in folder.iterdir()))
    check_folder(folder, sums)
    (folder / "more.jar").write_text("more")
    with pytest.raises(Corrupt, match=r"more\.jar does not belong"):
        check_folder(folder, sums)
    (folder / "more.jar").unlink()
    (folder / "two.jar").write_text("forged")
    with pytest.raises(Corrupt, match=r"two\.jar"):
        check_folder(folder, sums)
    (folder / "two.jar").unlink()
    with pytest.raises(Corrupt, match=r"two\.jar is missing"):
        check_folder(folder, sums)


def test_of_two_at_once_one_builds_and_both_get_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    built, begun, go_on = context.Value("i", 0), context.Event(), context.Event()

    def build(folder: Path) -> None:
        begun.set()
        go_on.wait(60)
        (folder / "program").write_text("whole")
        built.value += 1

    def get() -> None:
        assert (cached("tool", "1", build, root=tmp_path) / "program").read_text() == "whole"

    getters = [context.Process(target=get) for _ in range(3)]
    for getter in getters:
        getter.start()
    assert begun.wait(60)
    assert not (tmp_path / "tool-1").exists()
    go_on.set()
    for getter in getters:
        getter.join(60)
    assert [getter.exitcode for getter in getters] == [0, 0, 0]
    assert built.value == 1


def test_a_build_that_was_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun = context.Event()

    def build(folder: Path) -> None:
        (folder / "program").write_text("half")
        begun.set()
        threading.Event().wait()

    def finish(folder: Path) -> None:
        assert list(folder.iterdir()) == []

    victim = context.Process(target=cached, args=("tool", "1", build, tmp_path))
    victim.start()
    assert begun.wait(60)
    victim.kill()
    victim.join(60)
    assert list(cached("tool", "1", finish, root=tmp_path).iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tool-1", "tool-1.lock"]
