"""One worker per data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.failures import UserError


class InUse(UserError):
    """Another worker holds the data folder."""

    exit_code = 3


@contextmanager
def worker_lock(data: Path) -> Iterator[None]:
    """Holds ``<data>/worker.lock``, which names this process; the system frees it at any death.
    Makes the folder where it is missing."""
    path = data / "worker.lock"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({os.strerror(error.errno or 0)}). The worker needs a data "
            "folder that it may write to: see --data."
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", errors="replace").strip()
            raise InUse(
                f"{data} is in use by another worker (process {holder or 'unknown'}). Stop it "
                "first, or choose another data folder with --data."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder_of(data: Path) -> int | None:
    """The process id of the worker that runs in this data folder now; None when none does."""
    try:
        descriptor = os.open(data / "worker.lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 20).decode("ascii", errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None
