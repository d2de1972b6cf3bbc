"""InfluxDB 2, built from its Go module."""

from __future__ import annotations

import signal
from pathlib import Path

from deploy.local import addresses
from deploy.local.cache import cache_root, cached
from deploy.local.golang import build_influxd
from deploy.local.kinds.base import PROGRAMS, Launch, Place, plain_environment
from deploy.local.ports import HOST
from deploy.local.web import ask

ORG = "memory"
_PROGRAM = PROGRAMS["influxdb"]


class InfluxdbKind:
    """Set up with an organisation, a bucket and a token of ours at its first start."""

    name = "influxdb"
    ports: tuple[str, ...] = ("http",)
    secrets: tuple[str, ...] = ("token", "password")
    stop_signal: signal.Signals = (
        signal.SIGINT
    )  # SIGTERM ends it at once, without closing its files.
    needs: tuple[str, ...] = ()

    def fetch_needs(self) -> tuple[str, ...]:
        present = (cache_root() / f"influxdb-{_PROGRAM['version']}").is_dir()
        return () if present else ("go", "cargo", "gcc", "pkg-config")

    def fetch(self) -> Path:
        return cached("influxdb", _PROGRAM["version"], lambda f: build_influxd(_PROGRAM, f))

    def prepare(self, place: Place) -> Launch:
        folder = place.folder
        empty = folder / "work"  # It reads any config.* where it starts.
        empty.mkdir(exist_ok=True)
        options = {
            "http-bind-address": f"{HOST}:{place.ports['http']}",
            "bolt-path": str(folder / "influxd.bolt"),
            "sqlite-path": str(folder / "influxd.sqlite"),
            "engine-path": str(folder / "engine"),
            "log-level": "warn",
            **place.settings,
        }
        argv = [str(self.fetch() / "influxd"), "--reporting-disabled"]
        for name, value in options.items():
            argv.append(f"--{name}={value}")
        return Launch(tuple(argv), plain_environment(folder), empty)

    def is_ready(self, place: Place) -> bool:
        answer = ask(place.ports["http"], "/health")
        return answer.body.get("status") == "pass" and _is_set_up(place)

    def address(self, place: Place) -> addresses.Influxdb:
        url = f"http://{HOST}:{place.ports['http']}"
        return addresses.Influxdb(url=url, org=ORG, token=place.secrets["token"])


def _is_set_up(place: Place) -> bool:
    port, path = place.ports["http"], "/api/v2/setup"
    if not ask(port, path).body.get("allowed"):
        return True
    wanted = {"username": "local", "org": ORG, "bucket": "setup", **place.secrets}
    return ask(port, path, wanted, timeout=10).status == 201
