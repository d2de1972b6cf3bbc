"""mypy holds unscreened text out of what the later stages receive."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mypy import api

SNIPPET = """\
from schemas.items import ModelRef, Screened, ScreenedJson, ScreenedText, SessionRef

raw = "ada@example.com"
SessionRef(raw, Screened("u"))
ScreenedText(raw, "", 0)
ModelRef(id=raw)
parameters: ScreenedJson = raw.encode()
fine = ModelRef(id=Screened(raw))
"""
ROOT = Path(__file__).parents[3]


def test_a_plain_string_is_refused_in_a_screened_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "snippet.py").write_text(SNIPPET)
    arguments = ["--strict", "--config-file=", f"--cache-dir={tmp_path}/cache"]
    output, _, _ = api.run([*arguments, str(tmp_path / "snippet.py")])
    errors = [line.split("snippet.py:", 1)[1] for line in output.splitlines() if ": error:" in line]
    assert [error.split(":")[0] for error in errors] == ["4", "5", "6", "7"]
    assert all("Screened" in error for error in errors)


def test_only_this_stage_makes_screened_strings() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for package in ("flows", "stages", "sinks", "schemas")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"Screened", "ScreenedJson"}
    }
    assert makers
    # The empty object and [WITHHELD] are constants of the types' own module; what is read back from
    # the graph was screened before it was written.
    assert {maker for maker in makers if not maker.startswith("stages/pii/")} == {
        "flows/sides.py",
        "schemas/items.py",
    }
