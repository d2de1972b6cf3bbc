"""The settings with which a worker runs on the servers of a folder: a TOML file for what may be
seen, a file of variables, for its owner only, for what may not."""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from deploy.local.server import Server

TOML = "servers.toml"
ENVIRONMENT = "servers.env"
_PREFIX = "MEMORY_GRAPH_"
KEY = f"{_PREFIX}KEY"
_HEADER = """\
# Written by deploy.local; `start` writes it anew. Secrets are in {environment}, beside it:
#   set -a; . {folder}/{environment}; set +a
#   memory-graph run --config {folder}/{toml}
"""

PATIENCE = 30.0
"""Seconds for a call, where five servers start cold on the machine that the worker runs on."""

BACKENDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kafka": ("kafka", ("log", "queues")),
    "neo4j": ("neo4j", ("graph",)),
    "pinecone": ("pinecone", ("vector",)),
    "influxdb": ("influxdb", ("timeseries",)),
    "elasticsearch": ("elasticsearch", ("search",)),
    "redis": ("redis", ("state",)),
}
"""What a kind of server does in the worker; what none does stays embedded."""

SECTIONS: dict[str, tuple[str, Callable[[Any], dict[str, object]]]] = {
    "kafka": ("kafka", lambda at: {"bootstrap_servers": at.bootstrap}),
    "neo4j": ("neo4j", lambda at: {"uri": at.uri, "timeout_seconds": PATIENCE}),
    "pinecone": ("pinecone", lambda at: {"host": at.host}),
    "influxdb": ("influxdb", lambda at: {"url": at.url, "org": at.org}),
    "elasticsearch": ("elasticsearch", lambda at: {"urls": [at.url], "replicas": 0}),
    "redis": ("redis", lambda at: {"url": at.url}),
    "registry": (
        "lookup",
        lambda at: {
            "registry": "grpc",
            "registry_address": at.target,
            "registry_plaintext": True,
        },
    ),
}

SECRETS: dict[str, Callable[[Any], dict[str, str]]] = {
    "pinecone": lambda at: {"PINECONE__API_KEY": at.api_key},
    "influxdb": lambda at: {"INFLUXDB__TOKEN": at.token},
    "neo4j": lambda at: {"NEO4J__PASSWORD": at.password} if at.password else {},
}


def write(
    folder: Path, servers: Iterable[Server], more: Mapping[str, Mapping[str, object]]
) -> Path:
    """Writes both files, the TOML with the sections ``more`` merged in; returns the TOML's path.

    The key that seals dead letters is made once: a worker on Kafka keeps none of its own.
    """
    addresses = {server.record.kind: server.address for server in servers}
    sections: dict[str, dict[str, object]] = {
        "worker": {"data": "worker"},
        "backends": {},
        "delivery": {"deadline_seconds": PATIENCE, "breaker_timeout_seconds": PATIENCE},
    }
    variables = {"KEY": _key(folder) or base64.b64encode(os.urandom(32)).decode()}
    for kind, address in addresses.items():
        name, roles = BACKENDS.get(kind, ("", ()))
        sections["backends"] |= dict.fromkeys(roles, name)
        section, values = SECTIONS[kind]
        sections.setdefault(section, {}).update(values(address))
        variables |= SECRETS[kind](address) if kind in SECRETS else {}
    for section, extra in more.items():
        sections.setdefault(section, {}).update(extra)
    header = _HEADER.format(folder=folder, environment=ENVIRONMENT, toml=TOML)
    path = folder / TOML
    path.write_text("\n".join([header, *map(_section, sections, sections.values())]))
    lines = [f"{_PREFIX}{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    _write_private(folder / ENVIRONMENT, "".join(lines))
    return path


def _key(folder: Path) -> str:
    """The key that was made before."""
    path = folder / ENVIRONMENT
    lines = path.read_text().splitlines() if path.exists() else []
    found = [value for name, _, value in (line.partition("=") for line in lines) if name == KEY]
    return "".join(shlex.split(found[0])) if found else ""


def _section(name: str, values: Mapping[str, object]) -> str:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    return "".join([f"[{name}]\n", *lines])


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    fresh.rename(path)
