"""What can be said of deploy/compose.yaml without a container engine.

By hand, when it changes: validate it against the JSON Schema of the Compose Specification.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy.local.kinds.base import PROGRAMS
from flows.cli.app import _register, app
from flows.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KEYS = {
    "build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init",
    "platform", "ports", "profiles", "restart", "stop_grace_period", "ulimits", "volumes",
}  # fmt: skip
"""Those keys of a service that this file uses, as the specification spells them."""
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
DURATION = re.compile(r"^(\d+h)?(\d+m)?(\d+s)?$")
PINNED = re.compile(r"^[a-z0-9./-]+:v?\d+\.\d+\.\d+(-[a-z0-9-]+)?$")
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:?[-?+][^}]*)?\}")


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = SERVICES[request.param]
    return found


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def test_the_document_has_the_sections_of_the_specification() -> None:
    sections = {name for name in COMPOSE if not name.startswith("x-")}
    assert sections == {"name", "services", "volumes"}
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", COMPOSE["name"])


def test_services_have_known_keys(service: dict[str, Any]) -> None:
    assert service.keys() <= KEYS


def test_images_are_pinned(service: dict[str, Any]) -> None:
    assert PINNED.match(service["image"])


@pytest.mark.parametrize("name", ["kafka", "neo4j", "elasticsearch", "influxdb", "redis"])
def test_servers_are_the_versions_that_are_tested(name: str) -> None:
    version = SERVICES[name]["image"].rpartition(":")[2]
    assert re.match(rf"{re.escape(PROGRAMS[name]['version'])}(?![0-9])", version)


def test_ports_are_on_the_loopback_interface_and_different() -> None:
    seen = set()
    for service in SERVICES.values():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1"
            assert 0 < int(inside) < 65_536
            assert outside not in seen
            seen.add(outside)


def test_what_a_service_waits_for_exists_and_can_come_true(service: dict[str, Any]) -> None:
    for name, how in service.get("depends_on", {}).items():
        assert how["condition"] in CONDITIONS
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[name]
        if how["condition"] == "service_completed_successfully":
            assert SERVICES[name].get("restart", "no").startswith(("no", "on-failure"))


def test_nobody_waits_for_himself() -> None:
    def reaches(name: str, seen: frozenset[str]) -> None:
        assert name not in seen
        for other in SERVICES[name].get("depends_on", {}):
            reaches(other, seen | {name})

    for name in SERVICES:
        reaches(name, frozenset())


def test_servers_say_when_they_are_healthy() -> None:
    without = {name for name, service in SERVICES.items() if "healthcheck" not in service}
    assert without == {"init"}
    for service in SERVICES.values():
        check = service.get("healthcheck")
        if check is None:
            continue
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert check["test"][0] == "CMD" or len(check["test"]) == 2
        for key in ("interval", "timeout", "start_period"):
            assert DURATION.match(check.get(key, "1s"))


def test_volumes_are_declared_and_mounted_files_exist() -> None:
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file()
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_environments_are_texts(service: dict[str, Any]) -> None:
    """YAML's true and 1 are not what a program finds in its environment."""
    for value in service.get("environment", {}).values():
        assert isinstance(value, str)


def test_every_secret_is_asked_for_and_made(tmp_path: Path) -> None:
    wanted = set()
    for text in strings(COMPOSE):
        for name, otherwise in VARIABLE.findall(text):
            assert otherwise.startswith(":?"), f"{name} may be missing unseen"
            wanted.add(name)
    script = tmp_path / "compose" / "secrets.sh"
    script.parent.mkdir()
    script.write_text((DEPLOY / "compose/secrets.sh").read_text())
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    first = made.read_text()
    values = dict(line.split("=", 1) for line in first.splitlines())
    assert values.keys() == wanted
    assert len(set(values.values())) == len(values)
    assert all(len(value) > 30 for value in values.values())
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    assert made.read_text() == first


def test_no_secret_is_in_the_files(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|KEY|AUTH", name):
            assert VARIABLE.sub("", value) in ("", "neo4j/")


def test_the_worker_takes_the_settings_and_reaches_the_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = SERVICES["worker"]["environment"]
    for name, value in environment.items():
        if name != "MEMORY_GRAPH_CONFIG":
            monkeypatch.setenv(name, VARIABLE.sub("secret", value))
    path = DEPLOY / "compose/memory-graph.toml"
    found = load_settings(path)
    assert {role for role, name in found.backends if name in ("sqlite", "files")} == set()
    hosts = set(re.findall(r'(?<=["/])([a-z0-9]+):\d+', path.read_text()))
    assert hosts == {
        "kafka", "neo4j", "pinecone", "influxdb", "elasticsearch", "redis", "registry"
    }  # fmt: skip
    assert hosts <= SERVICES.keys()
    mounted = {v.split(":")[1] for v in SERVICES["worker"]["volumes"]}
    assert {environment["MEMORY_GRAPH_CONFIG"], str(found.lookup.users)} <= mounted


def test_commands_are_commands_of_the_worker() -> None:
    if not app.registered_commands:
        _register()
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in ("worker", "reconcile", "enrich"):
        command, *options = SERVICES[name]["command"]
        offered = {o for p in known[command].params for o in p.opts}
        assert {o.partition("=")[0] for o in options} <= offered
    for line in SERVICES["init"]["command"][0].split("&&"):
        program, group, command, *options = shlex.split(line)
        assert program == "memory-graph"
        found = known[group].commands[command]
        offered = {o for p in found.params for o in p.opts}
        assert {o for o in options if o.startswith("--")} <= offered


@pytest.mark.parametrize("name", ["pinecone", "registry"])
def test_our_own_servers_take_their_options(name: str) -> None:
    service = SERVICES[name]
    module = service["entrypoint"][2]
    path = ROOT / (module.replace(".", "/") + ".py")
    offered = set(re.findall(r'add_argument\("(--[a-z-]+)"', re.sub(r"\s+", " ", path.read_text())))
    offered |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text()))
    assert {word for word in service["command"] if word.startswith("--")} <= offered
    assert service["ports"][0].endswith(service["command"][service["command"].index("--port") + 1])


def test_the_image_is_made_of_what_there_is() -> None:
    build = SERVICES["worker"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    dockerfile = (ROOT / build["dockerfile"]).read_text()
    copied = set()
    for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE):
        *sources, _ = line.split()
        copied |= set(sources)
    assert all((ROOT / source).exists() for source in copied)
    sent = (ROOT / f"{build['dockerfile']}.dockerignore").read_text()
    assert copied == set(re.findall(r"^!(.+)$", sent, re.MULTILINE))
    for needed in re.findall(r"requirements/[\w.]+", dockerfile):
        assert (ROOT / needed).is_file()
    assert PINNED.match(re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE)[0])
