"""Kafka: one node in KRaft mode, a plain listener and one with SCRAM."""

from __future__ import annotations

import base64
import logging
import signal
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local import addresses
from deploy.local.cache import cache_root, cached, check_folder
from deploy.local.failures import StartFailed
from deploy.local.kinds.base import HERE, PROGRAMS, Launch, Place, fill, plain_environment
from deploy.local.maven import copy_jars
from deploy.local.ports import HOST, answers

USER = "worker"
_PROGRAM = PROGRAMS["kafka"]
_QUIET = logging.getLogger("deploy.local.kafka")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_TAIL = 500


class KafkaKind:
    """``advertised``: a port (a proxy's) that a further listener, ``proxied``, sends clients to;
    clients that begin there go on there."""

    name = "kafka"
    ports: tuple[str, ...] = ("plain", "sasl", "controller", "proxied")
    secrets: tuple[str, ...] = ("password",)
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ("java",)

    def fetch_needs(self) -> tuple[str, ...]:
        present = (cache_root() / f"kafka-{_PROGRAM['version']}").is_dir()
        return () if present else ("mvn",)

    def fetch(self) -> Path:
        return cached("kafka", _PROGRAM["version"], _fetch)

    def prepare(self, place: Place) -> Launch:
        folder = place.folder
        settings = folder / "server.properties"
        fill("kafka.properties", settings, _values(place), place.settings)
        log = folder / "log4j2.properties"
        fill("kafka-log4j2.properties", log, {}, {})
        java = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp")
        jars = (f"{self.fetch()}/*",)
        env = plain_environment(folder)
        if not (folder / "data/meta.properties").exists():
            scram = f"SCRAM-SHA-512=[name={USER},password={place.secrets['password']}]"
            options = ("--standalone", "--ignore-formatted", "--cluster-id", _cluster_id())
            tool = ("kafka.tools.StorageTool", "format", *options, "--add-scram", scram)
            _format((*java, *jars, *tool, "--config", str(settings)), env, place)
        heap = ("-Xms128m", f"-Xmx{place.options.get('heap', '512m')}")
        logging_option = f"-Dlog4j2.configurationFile={log}"
        main = ("kafka.Kafka", str(settings))
        return Launch((*java[:-1], *heap, logging_option, "-cp", *jars, *main), env, folder)

    def is_ready(self, place: Place) -> bool:
        if not answers(place.ports["plain"]):
            return False
        bootstrap = f"{HOST}:{place.ports['plain']}"
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}, logger=_QUIET)
        try:
            return len(admin.list_topics(timeout=2).brokers) == 1
        except KafkaException:
            return False

    def address(self, place: Place) -> addresses.Kafka:
        return addresses.Kafka(
            bootstrap=f"{HOST}:{place.ports['plain']}",
            sasl=f"{HOST}:{place.ports['sasl']}",
            user=USER,
            password=place.secrets["password"],
        )


def _fetch(folder: Path) -> None:
    copy_jars(_PROGRAM["maven"], folder)
    check_folder(folder, HERE / "checksums/kafka.sha256")


def _values(place: Place) -> dict[str, object]:
    ports = place.ports
    listeners = {"PLAINTEXT": "plain", "SASL_PLAINTEXT": "sasl", "PROXIED": "proxied"}
    listening = {name: ports[port] for name, port in listeners.items()}
    advertised = dict(listening)
    if "advertised" in place.options:
        advertised["PROXIED"] = place.options["advertised"]
    return {
        "host": HOST,
        "data": place.folder / "data",
        "controller": ports["controller"],
        "listeners": _joined(listening | {"CONTROLLER": ports["controller"]}),
        "advertised": _joined(advertised),
    }


def _joined(listeners: dict[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in listeners.items())


def _cluster_id() -> str:
    """Not one that begins with a dash: the tool would take it for an option."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made


def _format(argv: tuple[str, ...], env: dict[str, str], place: Place) -> None:
    """The folder of a test's server is gone when somebody reads the message: it has the reason."""
    done = subprocess.run(
        argv,
        env=env,
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").replace(place.secrets["password"], "***")
        raise StartFailed(f"Kafka could not format its folder:\n{said[-_TAIL:].strip()}")
