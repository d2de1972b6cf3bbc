"""Settings and keys: what is wrong is named by place, and no value is shown."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from flows.keys import VARIABLE, Keys, derive, load_keys
from flows.settings import Settings, keys, load_settings
from schemas.failures import UserError

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.upper().startswith("MEMORY_GRAPH_")]:
        monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def complaint(path: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_settings(path)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.log_dir == settings.data / "log"


def test_the_file_is_read_and_its_relative_paths_count_from_it(tmp_path: Path) -> None:
    path = written(tmp_path, '[worker]\ndata = "d"\n[log]\ndir = "/l"\n[embed]\nmode = "off"\n')
    settings = load_settings(path)
    assert settings.data == tmp_path / "d"
    assert settings.log_dir == Path("/l")
    assert settings.embed.mode == "off"


def test_variables_stand_above_the_file_and_options_above_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, '[worker]\ndata = "d"\nchunk_events = 7\nepoch_seconds = 2\n')
    monkeypatch.setenv("MEMORY_GRAPH_WORKER__CHUNK_EVENTS", "9")
    monkeypatch.setenv("MEMORY_GRAPH_VALIDATE__MAX_DEPTH", "12")
    monkeypatch.setenv("MEMORY_GRAPH_PII__DETECT__PHONE_REGIONS", '["DE"]')
    monkeypatch.setenv("MEMORY_GRAPH_PII__POLICIES__PERSON", "redact")
    settings = load_settings(path, data=Path("/x"), metrics_port=0)
    assert settings.worker.chunk_events == 9
    assert settings.worker.epoch_seconds == 2
    assert settings.validate_.max_depth == 12
    assert settings.pii.detect.phone_regions == ("DE",)
    assert settings.pii.policies.PERSON == "redact"
    assert settings.data == Path("/x")
    assert settings.metrics.port == 0


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        (f'[embed]\nmdoe = "{SECRET}"\n', "embed.mdoe", "Did you mean mode?"),
        (f'data = "{SECRET}"\n', "data", "Did you mean worker.data?"),
        (
            f'[worker]\nbootstrap_servers = "{SECRET}"\n',
            "worker.bootstrap_servers",
            "Did you mean kafka.bootstrap_servers?",
        ),
        (f'[embedd]\nmode = "{SECRET}"\n', "embedd", "Did you mean embed?"),
        (f'[embed]\nmode = "{SECRET}"\n', "embed.mode", "'inline', 'deferred' or 'off'"),
        ("[worker]\nchunk_events = 0\n", "worker.chunk_events", "at least 1"),
        (f'[worker]\nchunk_events = "{SECRET}"\n', "worker.chunk_events", "a whole number"),
        (f'[pii.detect]\nnames = "{SECRET}"\n', "pii.detect.names", "true or false"),
        ("[pii.detect]\nentities = 5\n", "pii.detect.entities", "a list"),
        ("[lookup]\norphan_after_hours = 500\n", "lookup", "must not be less"),
        ('[pii.policies]\nPERSON = "hide"\n', "pii.policies.PERSON", "flag"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(
    tmp_path: Path, text: str, place: str, hint: str
) -> None:
    path = written(tmp_path, text)
    message = complaint(path)
    assert f"{path}, {place}" in message
    assert hint in message


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, '[embed]\nmode = "x"\nmdoe = "y"\n[worker]\nfollow = "perhaps"\n')
    assert len(complaint(path).splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MEMORY_GRAPH_WORKER__CHUNK_EVENT", "1", "MEMORY_GRAPH_WORKER__CHUNK_EVENTS"),
        ("MEMORY_GRAPH_EMBED__MODE", SECRET, "the variable MEMORY_GRAPH_EMBED__MODE"),
        ("MEMORY_GRAPH_PII__DETECT__PHONE_REGIONS", SECRET, "a list"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    message = complaint()
    assert name in message
    assert expected in message


def test_a_file_that_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    message = complaint(written(tmp_path, f'[embed]\nmode = "{SECRET}\n'))
    assert "line 2" in message
    assert "no settings file" in complaint(tmp_path / "absent.toml")


def test_every_key_has_a_description() -> None:
    assert [".".join(p) for p, field, _ in keys() if not field.description] == []


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    first = load_keys(tmp_path / "new")
    path = tmp_path / "new" / "secret.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_keys(tmp_path / "new") == first
    assert [p.name for p in path.parent.iterdir()] == ["secret.key"]
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        load_keys(tmp_path / "new")


def test_the_keys_of_one_master_differ_from_each_other_and_show_nothing() -> None:
    made = derive(b"m" * 32)
    values = [getattr(made, name) for name in Keys.__struct_fields__]
    assert len(set(values)) == len(values) == 5
    assert {len(v) for v in values} == {32}
    assert made == derive(b"m" * 32) != derive(b"n" * 32)
    assert "hidden" in repr(made)
    assert str(made.content) not in repr(made)


def test_the_variable_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, base64.b64encode(b"m" * 32).decode())
    assert load_keys(tmp_path) == derive(b"m" * 32)
    assert list(tmp_path.iterdir()) == []
    for wrong in ("", SECRET, base64.b64encode(b"short").decode()):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(UserError, match="32 bytes") as caught:
            load_keys(tmp_path)
        assert SECRET not in str(caught.value)


def test_a_command_that_only_reads_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no key"):
        load_keys(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []
