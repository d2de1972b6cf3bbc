"""InfluxDB's server from its Go module, with the Rust library inside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deploy.local.failures import Corrupt, LocalError

_TAIL = 15
_TAGS = "sqlite_foreign_keys,sqlite_json"


def build_influxd(program: Mapping[str, str], folder: Path) -> None:
    """Puts ``influxd`` into ``folder``: minutes, and 3 GB of scratch space in it meanwhile.

    Go checks every module below against the module's ``go.sum``, cargo against its lock file; the
    module's own sum is checked here.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        place = Path(scratch)
        env = _environment(place)
        source = _module(program["module"], program["sum"], env, place)
        _module(program["pkg_config"], program["pkg_config_sum"], env, place)
        _go(["install", program["pkg_config"]], env, place)
        env["PKG_CONFIG"] = str(place / "go/bin/pkg-config")  # Builds libflux when Go asks for it.
        version = f"-X main.version=v{program['version']}"
        flags = ["-tags", _TAGS, "-ldflags", f"-s -w {version}"]
        _go(
            ["build", "-C", str(source), *flags, "-o", str(folder / "influxd"), "./cmd/influxd"],
            env,
            place,
        )


def _environment(place: Path) -> dict[str, str]:
    """Go and cargo with caches of their own below ``place``, and the user's settings."""
    wrapper = place / "rustc"
    wrapper.write_text('#!/bin/sh\nexec "$@" --cap-lints warn\n')
    wrapper.chmod(0o755)
    cargo = place / "cargo"
    cargo.mkdir()
    users = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    for name in ("config.toml", "config", "credentials.toml"):
        if (users / name).is_file():
            shutil.copy(users / name, cargo / name)
    return {
        **os.environ,
        "GOPATH": str(place / "go"),
        "GOMODCACHE": str(place / "go/pkg/mod"),
        "GOBIN": str(place / "go/bin"),
        "GOCACHE": str(place / "build"),
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
        "CARGO_HOME": str(cargo),
        "RUSTC_WRAPPER": str(wrapper),  # It denies the warnings of compilers newer than itself.
        **_toolchain(),
    }


def _toolchain() -> dict[str, str]:
    """The Rust that the machine has, where rustup would fetch the older one that it pins."""
    if shutil.which("rustup") is None or "RUSTUP_TOOLCHAIN" in os.environ:
        return {}
    ask = ["rustup", "show", "active-toolchain"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    name = done.stdout.split()
    return {"RUSTUP_TOOLCHAIN": name[0] if done.returncode == 0 and name else "stable"}


def _module(name: str, expected: str, env: Mapping[str, str], place: Path) -> Path:
    """The module's folder. Raises :class:`Corrupt` when its sum is not ``expected``."""
    found = json.loads(_go(["mod", "download", "-json", name], env, place))
    if found["Sum"] != expected:
        raise Corrupt(f"The Go module {name} is not what its checksum says; it was not built.")
    return Path(found["Dir"])


def _go(arguments: list[str], env: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(
        ["go", *arguments],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-_TAIL:])
        raise LocalError(f"go {arguments[0]} failed while building InfluxDB:\n{tail}")
    return done.stdout
