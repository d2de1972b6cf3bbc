"""What a kind of server has to say about itself."""

from __future__ import annotations

import os
import secrets
import signal
import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, Protocol

from deploy.local.addresses import Address

HERE = Path(__file__).parents[1]
PROGRAMS: dict[str, Any] = tomllib.loads((HERE / "programs.toml").read_text())
NOBODY = 65_534


class Place(NamedTuple):
    """Where one server lives: a folder of its own, its ports by name, its secrets by name, and
    options of its kind (``settings`` has lines for its configuration file)."""

    folder: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    options: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.options.get("settings", {})
        return found


class Launch(NamedTuple):
    """How the program is started."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


class Kind(Protocol):
    """One kind of server."""

    name: str
    ports: tuple[str, ...]
    secrets: tuple[str, ...]
    stop_signal: signal.Signals
    needs: tuple[str, ...]
    """Tools that running it takes."""

    def fetch_needs(self) -> tuple[str, ...]:
        """Tools that fetching it takes; none when it is cached."""

    def fetch(self) -> Path | None:
        """Its program, fetched when it is not cached."""

    def prepare(self, place: Place) -> Launch:
        """Writes its configuration into the folder; leaves data that is there."""

    def is_ready(self, place: Place) -> bool:
        """Whether it answers a real request. May raise :class:`OSError` while it does not."""

    def address(self, place: Place) -> Address: ...


def plain_environment(folder: Path) -> dict[str, str]:
    """Little but the path: no setting of the caller's shell reaches a server."""
    kept = ("PATH", "LANG", "TZ", "JAVA_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(folder)}


def fill(
    template: str, target: Path, values: Mapping[str, object], more: Mapping[str, str]
) -> None:
    """Writes a configuration file from ``templates/``; ``more`` goes below and so wins."""
    text = Template((HERE / "templates" / template).read_text()).substitute(values)
    separator = ": " if target.suffix == ".yml" else "="
    lines = [f"{key}{separator}{value}\n" for key, value in more.items()]
    target.write_text(text + "".join(lines))


def new_secret() -> str:
    return secrets.token_hex(20)
