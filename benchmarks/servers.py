"""Real servers for a benchmark, and installations on them that know nothing of each other.

with running() as servers:
    place = servers.installation("one", {"embed": {"mode": "off"}})
    worker = place.start("run", "--follow")
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.machine import ROOT
from deploy.local import settings as written
from deploy.local.fleet import Fleet
from deploy.local.server import Server
from flows.settings import Settings, load_settings

KINDS = ("kafka", "neo4j", "pinecone", "influxdb", "elasticsearch", "redis")
MEMORY_GRAPH = (sys.executable, "-m", "flows.cli")
Sections = Mapping[str, Mapping[str, object]]


class Installation(NamedTuple):
    """Topics, a group and stores of its own: a settings file and the secrets that belong to it.
    Neo4j and the Pinecone fake have one database and one index for all of a set of servers."""

    name: str
    bootstrap: str
    config: Path
    environment: dict[str, str]

    @property
    def prefix(self) -> str:
        """Of its topics."""
        return f"{self.name}."

    @property
    def group(self) -> str:
        return self.name

    def start(self, *words: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Starts ``memory-graph WORDS``."""
        command = [*MEMORY_GRAPH, *words, "--config", str(self.config)]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, **popen)

    def command(self, *words: str) -> str:
        """What ``memory-graph WORDS`` prints. Raises RuntimeError when it fails."""
        with self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate()
        if process.returncode:
            told = err[-2_000:].decode()
            raise RuntimeError(f"{words} ended with {process.returncode}: {told}")
        return out.decode()

    @contextmanager
    def signed_in(self) -> Iterator[Settings]:
        """The settings; meanwhile the secrets are in the environment of this process."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield load_settings(self.config)
        finally:
            os.environ.clear()
            os.environ.update(before)


class Servers(NamedTuple):
    """Servers that run, by their kinds."""

    folder: Path
    of: dict[str, Server]

    @classmethod
    def find(cls, folder: Path) -> Servers:
        """Those that were started in a folder, by this process or another."""
        return cls(folder, {state.kind: state.server for state in Fleet(folder).states()})

    def installation(
        self,
        name: str,
        sections: Sections | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Installation:
        """A new one with these settings and variables, its topics and stores made."""
        folder = self.folder / name
        folder.mkdir()
        more: dict[str, dict[str, object]] = {
            "kafka": {"topic_prefix": f"{name}.", "group": name},
            "influxdb": {"bucket": name},
            "elasticsearch": {"prefix": f"{name}-"},
            "redis": {"prefix": name},
        }
        used = {written.SECTIONS[kind][0] for kind in self.of}
        more = {section: values for section, values in more.items() if section in used}
        for section, values in (sections or {}).items():
            more[section] = {**more.get(section, {}), **values}
        config = written.write(folder, self.of.values(), more)
        environment = _environment(folder) | dict(variables or {})
        place = Installation(name, self.bootstrap, config, environment)
        place.command("topics", "create", "--replication", "1")
        place.command("stores", "init")
        return place

    @property
    def bootstrap(self) -> str:
        return str(self.of["kafka"].address.bootstrap)


@contextmanager
def running(
    kinds: tuple[str, ...] = KINDS, kafka: Mapping[str, str] | None = None
) -> Iterator[Servers]:
    """Starts servers in a folder of their own, and ends them. ``kafka``: lines for the broker's
    configuration file."""
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # Elasticsearch runs as another user where we are root.
        fleet = Fleet(folder)
        try:
            fleet.start(kinds, {"kafka": {"settings": dict(kafka or {})}})
            yield Servers.find(folder)
        finally:
            fleet.stop()


def _environment(folder: Path) -> dict[str, str]:
    """This process's, without settings of the person who runs it, and with the secrets."""
    found = {k: v for k, v in os.environ.items() if not k.startswith("MEMORY_GRAPH_")}
    for line in (folder / written.ENVIRONMENT).read_text("utf-8").splitlines():
        name, _, value = line.partition("=")
        found[name] = "".join(shlex.split(value))
    return found
