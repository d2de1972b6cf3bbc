"""What a measurement was taken on."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "amx_tile")
PACKAGES = (
    "bytewax", "confluent-kafka", "cryptography", "elasticsearch", "influxdb-client", "jsonschema",
    "langdetect", "llm-memory-graph", "msgspec", "neo4j", "openvino", "phonenumbers", "pinecone",
    "presidio-analyzer", "pycld2", "redis", "rs-bpe", "spacy", "tiktoken",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]


def facts() -> dict[str, Any]:
    """Date, commit, machine and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--", "*.py", "*.sql").splitlines()),
        "machine": {
            "cpu": _cpu("model name"),
            "cores": os.cpu_count(),
            "flags": [flag for flag in FLAGS if flag in _cpu("flags").split()],
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
    }


def load() -> float:
    """Processes that ran or wanted to run, over the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
