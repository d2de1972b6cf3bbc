"""What a machine must have before servers can be fetched and run on it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from deploy.local.failures import Lacking
from deploy.local.kinds.base import PROGRAMS, Kind

_TOOLS: dict[str, dict[str, Any]] = PROGRAMS["tools"]


def check(kinds: Iterable[Kind], *, running: bool = True) -> None:
    """Raises :class:`Lacking` that names every tool which is missing or too old, for which servers
    it is needed, and what to install. ``running`` false asks only for what fetching takes."""
    wanted: dict[str, list[str]] = {}
    for kind in kinds:
        for tool in {*kind.fetch_needs(), *(kind.needs if running else ())}:
            wanted.setdefault(tool, []).append(kind.name)
    lines = [
        f"  {tool} ({', '.join(names)}): {trouble}; install {_TOOLS[tool]['install']}"
        for tool, names in sorted(wanted.items())
        if (trouble := _trouble(tool))
    ]
    if lines:
        raise Lacking("\n".join(["This machine lacks:", *lines]))


def _trouble(tool: str) -> str:
    """What is wrong with the tool here; empty when nothing is."""
    if shutil.which(tool) is None:
        return "not found"
    least = _TOOLS[tool].get("least")
    if least is None:
        return ""
    found = _version(tool)
    if not found:
        return "does not say its version"
    return "" if _parts(found) >= _parts(least) else f"version {found}, at least {least} is needed"


def _version(tool: str) -> str:
    """1.2.3 of ``openjdk version "1.2.3"``, of ``javac 1.2.3`` and of ``go version go1.2.3``."""
    ask = [tool, _TOOLS[tool]["ask"]]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    match = re.search(r"\d+(\.\d+)*", done.stdout + done.stderr)
    return match[0] if match else ""


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
