"""No process is signalled that is not ours, and all of ours are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deploy.local import process
from deploy.local.process import Identity, end, identify, is_alive, members, send, spawn

PATIENCE = 60.0


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else, which leads a group of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        yield child
        child.kill()


def start(tmp_path: Path, *argv: str) -> Identity:
    return spawn(argv, {"PATH": os.environ["PATH"]}, tmp_path, tmp_path / "log")


@pytest.mark.parametrize("wrong", ["started", "boot"])
def test_a_number_that_was_given_again_is_not_signalled(
    sleeper: subprocess.Popen[bytes], wrong: str
) -> None:
    now = identify(sleeper.pid)
    before = {"started": {"started": now.started - 1}, "boot": {"boot": "another"}}[wrong]
    old = msgspec.structs.replace(now, **before)
    assert is_alive(now)
    assert not is_alive(old)
    assert members(old) == []
    assert not send(old, signal.SIGKILL)
    end(old, signal.SIGKILL, PATIENCE)
    assert sleeper.poll() is None
    assert is_alive(now)


def test_a_group_that_is_gone_is_not_signalled(tmp_path: Path) -> None:
    identity = start(tmp_path, "true")
    assert process.wait_gone(identity, PATIENCE)
    assert not send(identity, signal.SIGKILL)
    assert not is_alive(identity)


def test_children_end_with_the_leader_and_after_it(tmp_path: Path) -> None:
    script = "import subprocess, sys; c = subprocess.Popen(['sleep', '600']); print(c.pid)"
    for tail, leader_lives in (("; sys.stdout.flush(); c.wait()", True), ("", False)):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        identity = start(tmp_path, sys.executable, "-c", script + tail)
        deadline = time.monotonic() + PATIENCE
        while not (log.exists() and log.read_text().strip()) or (
            is_alive(identity) is not leader_lives
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child = identify(int(log.read_text()))
        assert child.pid in members(identity)
        end(identity, signal.SIGTERM, PATIENCE)
        assert members(identity) == []
        assert not is_alive(child)


def test_who_does_not_listen_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    identity = start(tmp_path, "sh", "-c", script)
    deadline = time.monotonic() + PATIENCE
    while "ready" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    end(identity, signal.SIGTERM, 0.3)
    assert not is_alive(identity)
    assert members(identity) == []


def test_the_frozen_end_too(tmp_path: Path) -> None:
    identity = start(tmp_path, "sleep", "600")
    assert send(identity, signal.SIGSTOP)
    end(identity, signal.SIGTERM, PATIENCE)
    assert not is_alive(identity)
