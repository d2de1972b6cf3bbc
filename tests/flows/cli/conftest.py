"""The sample in a data folder, ingested once by the real command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app as cli

SAMPLE = Path(__file__).parents[3] / "deploy" / "sample"
CONFIG = SAMPLE / "memory-graph.toml"

cli._register()


def command(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``memory-graph`` as a person would."""
    code = "from flows.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the whole sample in it."""
    data = tmp_path_factory.mktemp("sample")
    for arguments in (
        ("log", "append", SAMPLE / "events.jsonl"),
        ("log", "append", "--topic", "llm.prompts.v1", SAMPLE / "broken.jsonl"),
        ("run", "--json"),
    ):
        done = command(*arguments, "--data", data, "--config", CONFIG)
        assert done.returncode == 0, done.stderr
    (data / "summary.json").write_text(done.stdout)
    return data


@pytest.fixture
def call(sample: Path) -> Callable[..., str]:
    """Calls a command on the sample and answers what it prints."""

    def run(*arguments: str, expect: int = 0) -> str:
        result = CliRunner().invoke(cli.app, [*arguments, "--data", str(sample)])
        if expect == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == expect, result.output
        return result.output

    return run


@pytest.fixture
def ask(call: Callable[..., str]) -> Callable[..., Any]:
    """Calls a command with --json."""
    return lambda *arguments: json.loads(call(*arguments, "--json"))
