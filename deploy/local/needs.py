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
    found = _major(tool)
    if found is None:
        return "does not say its version"
    return "" if found >= least else f"version {found}, at least {least} is needed"


def _major(tool: str) -> int | None:
    """17 of ``openjdk version "17.0.1"`` and of ``javac 17.0.1``; 8 of ``1.8.0_392``."""
    done = subprocess.run([tool, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r"\b(?:1\.)?(\d+)[.\d_]*", done.stdout + done.stderr)
    return int(match[1]) if match else None
