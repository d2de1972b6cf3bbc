"""Neo4j Community, Bolt only."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError

from deploy.local import addresses
from deploy.local.cache import cache_root, cached, check_folder
from deploy.local.failures import StartFailed
from deploy.local.kinds.base import HERE, PROGRAMS, Launch, Place, fill, plain_environment
from deploy.local.maven import copy_jars
from deploy.local.ports import HOST, answers

_PROGRAM = PROGRAMS["neo4j"]
_JAVA = (
    "java",
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "-Dlog4j2.disable.jmx=true",
)


class Neo4jKind:
    """``auth=True``: it asks for the password of the user ``neo4j``."""

    name = "neo4j"
    ports: tuple[str, ...] = ("bolt",)
    secrets: tuple[str, ...] = ("password",)
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ("java",)

    def fetch_needs(self) -> tuple[str, ...]:
        present = (cache_root() / f"neo4j-{_PROGRAM['version']}").is_dir()
        return () if present else ("mvn",)

    def fetch(self) -> Path:
        return cached("neo4j", _PROGRAM["version"], _fetch)

    def prepare(self, place: Place) -> Launch:
        home, conf = place.folder, place.folder / "conf"
        conf.mkdir(exist_ok=True)
        auth = bool(place.options.get("auth"))
        values = {"host": HOST, "bolt": place.ports["bolt"], "auth": str(auth).lower()}
        fill("neo4j.conf", conf / "neo4j.conf", values, place.settings)
        env = plain_environment(home) | {"NEO4J_HOME": str(home), "NEO4J_CONF": str(conf)}
        java = (*_JAVA, "-cp", f"{self.fetch()}/*")
        if auth and not (home / "data").exists():
            tool = ("org.neo4j.server.startup.Neo4jAdminCommand", "dbms", "set-initial-password")
            _set_password((*java, *tool, place.secrets["password"]), env, home)
        main = "org.neo4j.server.CommunityEntryPoint"
        return Launch((*java, main, f"--home-dir={home}", f"--config-dir={conf}"), env, home)

    def is_ready(self, place: Place) -> bool:
        if not answers(place.ports["bolt"]):
            return False
        found = self.address(place)
        auth = (found.user, found.password) if found.password else None
        try:
            with (
                GraphDatabase.driver(found.uri, auth=auth, connection_timeout=2.0) as driver,
                driver.session() as session,
            ):
                return bool(session.run("RETURN 1 AS one").single(strict=True)["one"] == 1)
        except (DriverError, Neo4jError):
            return False

    def address(self, place: Place) -> addresses.Neo4j:
        password = place.secrets["password"] if place.options.get("auth") else ""
        return addresses.Neo4j(uri=f"bolt://{HOST}:{place.ports['bolt']}", password=password)


def _fetch(folder: Path) -> None:
    copy_jars(_PROGRAM["maven"], folder)
    check_folder(folder, HERE / "checksums/neo4j.sha256")


def _set_password(argv: tuple[str, ...], env: dict[str, str], home: Path) -> None:
    with (home / "password.log").open("wb") as output:
        done = subprocess.run(argv, env=env, cwd=home, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise StartFailed(f"Neo4j could not set its password; see {home / 'password.log'}.")
