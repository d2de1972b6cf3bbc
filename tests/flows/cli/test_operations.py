"""run, status, dlq, log append and config, as their users call them."""

from __future__ import annotations

import json
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.app import ADDRESSES
from flows.configuration import reference_markdown
from flows.settings import load_settings
from schemas.failures import UserError
from tests.flows.cli.conftest import CONFIG, SAMPLE, command

Ask = Callable[..., Any]
Call = Callable[..., str]


def test_the_summary_accounts_for_every_line(sample: Path) -> None:
    summary = json.loads((sample / "summary.json").read_text())
    lines = sum(
        len((SAMPLE / name).read_bytes().splitlines()) for name in ("events.jsonl", "broken.jsonl")
    )
    rejected = sum(r["events"] for r in summary["rejected"])
    assert summary["events"] == lines
    assert summary["lag"] == 0
    assert summary["duplicates"] == 8
    assert rejected == 11
    assert summary["alert"]
    assert summary["personal_data"]


def test_status_of_a_finished_folder(ask: Ask, call: Call) -> None:
    found = ask("status")
    assert found["worker"] is None
    assert all(p["lag"] == 0 and not p["waits_for"] for p in found["partitions"])
    assert found["orphans"] == 1
    assert sum(found["dead_letters"].values()) == 11
    assert "open dead letters" in found["alerts"][0]
    assert "Worker: not running" in call("status")


def test_dead_letters_show_no_payload_unless_asked(ask: Ask, call: Call) -> None:
    letters = ask("dlq", "list")
    number = next(x["sequence"] for x in letters if x["code"] == "missing_field")
    closed = call("dlq", "show", str(number))
    assert "missing_field" in closed
    assert "eventId" not in closed
    opened = ask("dlq", "show", str(number), "--payload")
    assert "eventId" in opened["payload"]["value"]
    assert ask("dlq", "list", "--code", "invalid_utf8")[0]["code"] == "invalid_utf8"
    with pytest.raises(UserError, match="no dead letter 9999"):
        call("dlq", "show", "9999")


def test_append_refuses_a_line_without_a_topic_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    secret = "jane.roe@example.com"
    file.write_text(f'{{"who": "{secret}"}}\n\nnot json {secret}\n')
    done = command("log", "append", file, "--data", tmp_path)
    assert done.returncode == 2
    assert "line 1: refused, fits no topic" in done.stderr
    assert "line 3: refused, not JSON" in done.stderr
    assert secret not in done.stderr + done.stdout
    forced = command("log", "append", "--topic", "llm.prompts.v1", file, "--data", tmp_path)
    assert forced.returncode == 0, forced.stderr


def test_commands_on_an_empty_folder_say_what_to_do(tmp_path: Path) -> None:
    for arguments in (("status",), ("search", "x"), ("dlq", "list"), ("reconcile",), ("run",)):
        done = command(*arguments, "--data", tmp_path)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
        assert "memory-graph" in done.stderr
        assert not (tmp_path / "memory.db").exists() or arguments == ("run",)


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("[embedd]\n", "embedd", "Did you mean embed?"),
        ('[embed]\nmode = "inlin"\n', "embed.mode", "one of 'inline', 'deferred' or 'off'"),
        ("[worker]\nepoch_second = 1\n", "worker.epoch_second", "Did you mean epoch_seconds?"),
        ('[worker]\nepoch_seconds = "x"\n', "worker.epoch_seconds", "a number"),
        ("[worker\n", "", "not TOML"),
    ],
)
def test_a_bad_setting_is_answered_with_its_place(
    tmp_path: Path, text: str, place: str, hint: str
) -> None:
    file = tmp_path / "memory-graph.toml"
    file.write_text(text)
    done = command("config", "check", file)
    assert done.returncode == 2
    assert place in done.stderr
    assert hint in done.stderr


def test_a_variable_that_names_no_key_is_refused() -> None:
    done = command("config", "show", MEMORY_GRAPH_EMBED__MODES="off")
    assert done.returncode == 2
    assert "MEMORY_GRAPH_EMBED__MODES" in done.stderr


def test_the_shown_settings_are_a_settings_file(tmp_path: Path) -> None:
    shown = command("config", "show", "--config", CONFIG).stdout
    assert tomllib.loads(shown)["lookup"]["users"].endswith("directory.toml")
    file = tmp_path / "shown.toml"
    file.write_text(shown)
    assert command("config", "check", file).returncode == 0


def test_the_reference_in_docs_is_the_generated_one() -> None:
    committed = Path(__file__).parents[3] / "docs" / "configuration.md"
    assert committed.read_text() == reference_markdown(), (
        "run: memory-graph config reference > docs/configuration.md"
    )


def test_a_server_that_does_not_answer_is_named_by_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = tmp_path / "memory-graph.toml"
    config.write_text(f'[kafka]\nbootstrap_servers = "127.0.0.1:{port}"\n', "utf-8")
    done = command("topics", "create", "--config", config)
    assert done.returncode == 4
    assert "kafka is unavailable" in done.stderr
    assert "kafka.bootstrap_servers" in done.stderr


def test_the_settings_that_name_servers_are_there() -> None:
    defaults = load_settings()
    for setting in ADDRESSES.values():
        section, name = setting.split(".")
        assert hasattr(getattr(defaults, section), name), setting
