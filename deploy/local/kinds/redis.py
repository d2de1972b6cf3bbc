"""Redis, of the system."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess

from deploy.local import addresses
from deploy.local.failures import LocalError
from deploy.local.kinds.base import Launch, Place, plain_environment
from deploy.local.ports import HOST

_PROGRAM = "redis-server"


class RedisKind:
    """Keeps what it was told in an append-only file."""

    name = "redis"
    ports: tuple[str, ...] = ("redis",)
    secrets: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ()

    def fetch_needs(self) -> tuple[str, ...]:
        return () if shutil.which(_PROGRAM) or _can_install() else (_PROGRAM,)

    def fetch(self) -> None:
        if shutil.which(_PROGRAM) is None:
            _install()

    def prepare(self, place: Place) -> Launch:
        self.fetch()
        options = {
            "port": str(place.ports["redis"]),
            "bind": HOST,
            "dir": str(place.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            **place.settings,
        }
        argv = [_PROGRAM]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return Launch(tuple(argv), plain_environment(place.folder), place.folder)

    def is_ready(self, place: Place) -> bool:
        with socket.create_connection((HOST, place.ports["redis"]), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")

    def address(self, place: Place) -> addresses.Redis:
        return addresses.Redis(url=f"redis://{HOST}:{place.ports['redis']}/0")


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install() -> None:
    """By the system's package manager, which checks signatures; it needs root."""
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", _PROGRAM]):
        done = subprocess.run(
            ["apt-get", "-q", *command], env=env, capture_output=True, check=False
        )
    if done.returncode or shutil.which(_PROGRAM) is None:
        raise LocalError("apt-get could not install redis-server; install Redis 7 yourself.")
