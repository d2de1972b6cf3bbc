"""Processes that are told apart from any that get the same number later.

A server is the leader of its own session and process group; signals go to the group, because
Elasticsearch is two processes. A process is named by number, start time and boot; a number alone
is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

PROC = Path("/proc")
_TICK = 0.02


class Identity(msgspec.Struct, frozen=True):
    """A process: its number, its start in ticks since the boot, and the boot."""

    pid: int
    started: int
    boot: str


class _Stat(msgspec.Struct, frozen=True):
    state: str
    group: int
    started: int


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this process started, to be reaped by it."""


def spawn(argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> Identity:
    """Starts a program in a session of its own; its output is appended to ``log``."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    return identify(child.pid)


def identify(pid: int) -> Identity:
    """The identity of a process that runs now. Raises :class:`ProcessLookupError`."""
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(pid)
    return Identity(pid, stat.started, _boot())


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs; a zombie does not."""
    _reap(identity.pid)
    stat = _stat(identity.pid)
    return (
        stat is not None
        and stat.state not in "ZX"
        and stat.started == identity.started
        and _boot() == identity.boot
    )


def members(identity: Identity) -> list[int]:
    """The live processes of the group that ``identity`` leads, or led until it died.

    While a group has members, its number is given to no new process. So when the number belongs to
    a process that is not ours, our group is gone; when it belongs to none, the members are ours.
    """
    if _boot() != identity.boot:
        return []
    _reap(identity.pid)
    leader = _stat(identity.pid)
    if leader is not None and leader.started != identity.started:
        return []
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if (
                stat is not None
                and stat.group == identity.pid
                and stat.state not in "ZX"
                and stat.started >= identity.started
            ):
                found.append(int(entry.name))
    return found


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signals the group. False when nothing of it is left; then nothing is signalled."""
    if not members(identity):
        return False
    try:
        os.killpg(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def end(identity: Identity, number: signal.Signals, patience: float) -> None:
    """Asks the group to end with ``number``; after ``patience`` seconds it is killed."""
    send(identity, number)
    send(identity, signal.SIGCONT)
    if not wait_gone(identity, patience):
        send(identity, signal.SIGKILL)
        wait_gone(identity, patience)


def wait_gone(identity: Identity, patience: float) -> bool:
    """Waits until no process of the group is left; False when some is after ``patience``."""
    deadline = time.monotonic() + patience
    while members(identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK)
    return True


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # The name before it may hold blanks and brackets.
    return _Stat(fields[0], int(fields[2]), int(fields[19]))


def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
