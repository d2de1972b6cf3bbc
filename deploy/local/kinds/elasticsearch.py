"""Elasticsearch: the small distribution, completed by a plugin compiled here."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from deploy.local import addresses
from deploy.local.cache import APPLICATION, cache_root, cached, check_file
from deploy.local.failures import LocalError
from deploy.local.kinds.base import HERE, NOBODY, PROGRAMS, Launch, Place, fill
from deploy.local.maven import copy_file, unpack
from deploy.local.ports import HOST
from deploy.local.web import ask

_PROGRAM = PROGRAMS["elasticsearch"]
_SOURCE = HERE / "elasticsearch" / "LocalPlugin.java"
_CLASS = "memorygraph.local.LocalPlugin"
_OTHERS_MAY_ENTER = 0o001


class ElasticsearchKind:
    """It refuses to be root; started by root, it runs as nobody."""

    name = "elasticsearch"
    ports: tuple[str, ...] = ("http", "transport")
    secrets: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ("java", "setpriv") if os.geteuid() == 0 else ("java",)

    def fetch_needs(self) -> tuple[str, ...]:
        present = (cache_root() / f"elasticsearch-{_version()}").is_dir()
        return () if present else ("mvn", "javac")

    def fetch(self) -> Path:
        return cached("elasticsearch", _version(), _fetch)

    def prepare(self, place: Place) -> Launch:
        program = self.fetch()
        work = place.folder
        as_nobody = os.geteuid() == 0
        if as_nobody and not _others_reach(program):
            program = cached("elasticsearch", _version(), _copier(program), root=_open_folder())
        if as_nobody and not _others_reach(work):
            work = stand_in(work)
            work.mkdir(exist_ok=True)
        values: dict[str, object] = {"host": HOST, "folder": work, **place.ports}
        values["heap"] = place.options.get("heap", "256m")
        for name in ("conf", "data", "logs", "tmp"):
            (work / name).mkdir(parents=True, exist_ok=True)
        fill("elasticsearch.yml", work / "conf/elasticsearch.yml", values, place.settings)
        fill("jvm.options", work / "conf/jvm.options", values, {})
        shutil.copy(program / "config/log4j2.properties", work / "conf/log4j2.properties")
        if as_nobody:
            _give_away(work)
        variables = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(work),
            "ES_JAVA_HOME": _java_home(),
            "ES_PATH_CONF": str(work / "conf"),
            "ES_TMPDIR": str(work / "tmp"),
        }
        argv: tuple[str, ...] = (str(program / "bin/elasticsearch"),)
        if as_nobody:
            setpriv = shutil.which("setpriv") or "setpriv"
            argv = (setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv)
        return Launch(argv, variables, work)

    def is_ready(self, place: Place) -> bool:
        path = "/_cluster/health?wait_for_status=yellow&timeout=2s"
        answer = ask(place.ports["http"], path)
        return answer.status == 200 and answer.body["status"] in ("green", "yellow")

    def address(self, place: Place) -> addresses.Elasticsearch:
        return addresses.Elasticsearch(url=f"http://{HOST}:{place.ports['http']}")


@cache
def _version() -> str:
    """The version, and what stands for the plugin in it."""
    return f"{_PROGRAM['version']}-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:8]}"


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = copy_file(_PROGRAM["maven"][0], Path(scratch))
        check_file(archive, _PROGRAM["sha256"])
        unpack(archive, folder)
    plugin = folder / "plugins/memory-graph-local"
    plugin.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as classes:
        jars = f"{folder}/lib/*"
        _run("javac", "--release", "17", "-proc:none", "-cp", jars, "-d", classes, str(_SOURCE))
        _run("jar", "--create", f"--file={plugin / 'memory-graph-local.jar'}", "-C", classes, ".")
    descriptor = {
        "name": "memory-graph-local",
        "description": "What the small distribution lacks and the worker uses",
        "version": "1",
        "elasticsearch.version": _PROGRAM["version"],
        "java.version": "17",
        "classname": _CLASS,
    }
    lines = [f"{key}={value}\n" for key, value in descriptor.items()]
    (plugin / "plugin-descriptor.properties").write_text("".join(lines))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"The plugin for Elasticsearch was not built:\n{done.stderr[-2_000:]}")


def _others_reach(path: Path) -> bool:
    """Whether a user who owns nothing can enter the folder."""
    while not path.exists():
        path = path.parent
    return all(p.stat().st_mode & _OTHERS_MAY_ENTER for p in (path, *path.parents))


def _open_folder() -> Path:
    """A folder of ours that others can enter and cannot write to."""
    folder = Path(tempfile.gettempdir()) / f"{APPLICATION}-{os.geteuid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    stat = folder.lstat()
    if folder.is_symlink() or stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
        raise LocalError(f"{folder} belongs to somebody else; remove it or set TMPDIR.")
    folder.chmod(0o711)
    return folder


def _copier(program: Path) -> Callable[[Path], None]:
    def copy(folder: Path) -> None:
        shutil.copytree(program, folder, dirs_exist_ok=True, symlinks=True)

    return copy


def stand_in(folder: Path) -> Path:
    """The folder that is used for one which nobody cannot enter; the same each time."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return _open_folder() / f"elasticsearch-{digest}"


def _give_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@cache
def _java_home() -> str:
    done = subprocess.run(
        ["java", "-XshowSettings:properties", "-version"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stderr.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "java.home":
            return value.strip()
    raise LocalError("java does not say where it is installed (-XshowSettings:properties).")
