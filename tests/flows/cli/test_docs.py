"""Every command that the documents show exists, with the options that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")),
             *sorted((ROOT / "deploy").rglob("*.md")), ROOT / "deploy/compose.yaml",
             *sorted((ROOT / "deploy").rglob("*.sh"))]  # fmt: skip
_CODE = re.compile(r"`([^`\n]+)`")
_CALL = re.compile(r"(?:^|\s)(?:mg|memory-graph|\S*/memory-graph|exec worker memory-graph)\s+(.*)")


def calls(path: Path) -> Iterator[str]:
    """What follows the command's name, wherever a document shows it."""
    for line in path.read_text().splitlines():
        shown = [line] if line.startswith(("$ ", "  ")) else []
        for text in [*shown, *_CODE.findall(line)]:
            found = _CALL.search(text)
            if found:
                yield re.split(r"\s[|<>&#]|[\];…)]", found[1])[0]


@cache
def whole() -> Any:
    app._register()
    return typer.main.get_command(app.app)


def resolved(words: list[str]) -> tuple[Any, list[str]]:
    command = whole()
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_shows_exists(path: Path) -> None:
    for call in calls(path):
        command, rest = resolved(shlex.split(call.replace("$", "")))
        options = {
            name for param in command.params for name in [*param.opts, *param.secondary_opts]
        }
        if hasattr(command, "commands"):
            assert not [word for word in rest if not word.startswith("-")], call
        assert {word for word in rest if word.startswith("--")} <= options | {"--help"}, call


def test_commands_are_found_in_the_documents() -> None:
    found = [call for path in DOCUMENTS for call in calls(path)]
    assert len(found) > 40
    assert any(call.startswith("prove --all") for call in found)
