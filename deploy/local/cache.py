"""Programs that are fetched or built once on a machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.failures import Corrupt

APPLICATION = "llm-memory-graph"


def cache_root() -> Path:
    """Where programs are kept: outside the checkout, for all checkouts of a user."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / APPLICATION


def cached(
    name: str, version: str, build: Callable[[Path], None], root: Path | None = None
) -> Path:
    """The folder ``<name>-<version>`` of the cache, made by ``build`` when it is not there.

    ``build`` gets an empty folder, which becomes the cached one when it returns; until then nobody
    sees it. Of several processes one builds and the others wait.
    """
    root = root or cache_root()
    final = root / f"{name}-{version}"
    if final.is_dir():
        return final
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f"{final.name}.lock"):
        if final.is_dir():
            return final
        for left in root.glob(f".{final.name}.*"):  # By a build that was killed.
            shutil.rmtree(left, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=root))
        try:
            build(fresh)
            fresh.chmod(0o755)
            fresh.rename(final)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return final


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on ``path``; a process that dies gives it back."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, expected: str) -> None:
    """Raises :class:`Corrupt` unless the file has this SHA-256."""
    if sha256(path) != expected:
        raise Corrupt(f"{path.name} is not what its checksum says; it was not kept. Try again.")


def check_folder(folder: Path, checksums: Path) -> None:
    """Raises :class:`Corrupt` unless the folder holds exactly the files of the list, which is in
    the format of ``sha256sum``."""
    lines = (line.split() for line in checksums.read_text().splitlines() if line)
    expected = {name.lstrip("*"): digest for digest, name in lines}
    found = {path.name for path in folder.iterdir()}
    for name in sorted(expected.keys() ^ found):
        what = "is missing from" if name in expected else "does not belong to"
        raise Corrupt(f"{name} {what} what was fetched ({checksums.name}); it was not kept.")
    for name, digest in expected.items():
        check_file(folder / name, digest)
