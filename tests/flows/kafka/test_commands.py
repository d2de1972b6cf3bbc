"""``topics``, ``produce`` and ``replay`` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app as cli
from schemas.failures import UserError
from sinks.kafka.settings import KafkaSettings
from tests.flows import tiny
from tests.flows.kafka.world import PROMPTS

if not cli.app.registered_commands:
    cli._register()


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def config(settings: KafkaSettings, tmp_path: Path) -> str:
    path = tmp_path / "memory-graph.toml"
    path.write_text(
        f'[backends]\nlog = "kafka"\n[kafka]\nbootstrap_servers = "{settings.bootstrap_servers}"\n'
        f'topic_prefix = "{settings.topic_prefix}"\ngroup = "{settings.group}"\n'
    )
    return str(path)


def test_topics_are_made_filled_and_shown(config: str, tmp_path: Path) -> None:
    made = json.loads(call("topics", "create", "--replication", "1", "--json", "--config", config))
    assert {one["status"] for one in made} == {"created", "exists"}
    (prompts,) = [one for one in made if one["topic"].endswith(PROMPTS)]
    assert ["partitions", "4", "12"] in prompts["differs"]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(tiny.lines(50)))
    (done,) = json.loads(call("produce", str(file), "--json", "--config", config))
    assert sum(done["produced"].values()) >= 50
    rows = json.loads(call("topics", "list", "--json", "--config", config))
    assert sum(row["lag"] for row in rows) == sum(done["produced"].values())
    assert {row["committed"] for row in rows} == {None}


def test_a_line_that_is_refused_is_an_error_and_the_others_go(config: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"prompt":{}}\n{}\n')
    with pytest.raises(UserError, match="1 lines were refused"):
        call("produce", str(file), "--config", config)
    rows = json.loads(call("topics", "list", "--json", "--config", config))
    assert sum(row["end"] for row in rows) == 1


def test_replay_says_what_it_cannot_do(config: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a time with its zone"):
        call("replay", "--from", "yesterday", "--config", config)
    with pytest.raises(UserError, match="for a log in Kafka"):
        call("replay", "--from", "2026-01-01T00:00:00Z", "--data", str(tmp_path))
