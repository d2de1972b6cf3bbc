"""What can be wrong with the machine around a worker, for as long as a test wants it."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults.harness import Worker

SMALL = 64 * 1024
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program holds the write lock of the file."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def no_growth(worker: Worker) -> Iterator[None]:
    """No file may grow beyond 64 KiB: a quota that is used up."""
    pid = worker.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL, before[1]))
    yield
    if worker.process.poll() is None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def no_space(worker: Worker) -> Iterator[None]:
    """The file system of the data folder has no block left."""
    ballast = worker.bench.data / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    yield
    ballast.unlink()


def can_mount() -> bool:
    """Whether this process may mount file systems."""
    folder = Path(tempfile.mkdtemp())
    try:
        with small_file_system(folder):
            return os.path.ismount(folder)
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_file_system(folder: Path) -> Iterator[None]:
    """A file system of 64 MB in memory on ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet = subprocess.DEVNULL
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    subprocess.run(mount, check=True, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def obey_permissions() -> None:
    """For ``preexec_fn``: root, too, has to obey the permissions of files after this."""
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
