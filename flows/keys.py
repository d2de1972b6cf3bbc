"""The worker's one master key and the keys derived from it."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.failures import UserError

VARIABLE = "MEMORY_GRAPH_KEY"
FILE = "secret.key"
_SIZE = 32


class Keys(msgspec.Struct, frozen=True):
    """Independent 32-byte keys, one for each use. Never shown."""

    dead_letters: bytes
    pseudonyms: bytes
    content: bytes
    images: bytes
    log: bytes

    def __repr__(self) -> str:
        return "Keys(<hidden>)"


def derive(master: bytes) -> Keys:
    """HKDF-SHA256 (RFC 5869) of the master key, with the use as info."""

    def key(use: str) -> bytes:
        info = f"llm-memory-graph/{use}".encode()
        return HKDF(hashes.SHA256(), _SIZE, salt=None, info=info).derive(master)

    return Keys(
        dead_letters=key("dead-letters"),
        pseudonyms=key("pseudonyms"),
        content=key("content"),
        images=key("images"),
        log=key("log"),
    )


def load_keys(data: Path, *, create: bool = True) -> Keys:
    """The keys of a data folder.

    ``MEMORY_GRAPH_KEY`` (32 bytes, base64) goes before the file ``secret.key`` (the same, mode
    0600), which is made at the first start. Losing it makes dead letters unreadable and starts new
    pseudonyms. Raises :class:`UserError`, which never shows the key.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return derive(_decode(given, f"the environment variable {VARIABLE}"))
    path = data / FILE
    try:
        text = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        if not create:
            raise UserError(
                f"There is no key: set {VARIABLE} (32 bytes in base64), or restore {path} from a "
                "copy. Dead letters cannot be sealed or opened without it, and every worker of a "
                "group needs the same. A new one: head -c 32 /dev/urandom | base64"
            ) from None
        return derive(_make(path))
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path} can be read by others. Run: chmod 600 {path}")
    return derive(_decode(text, str(path)))


def _decode(text: str, where: str) -> bytes:
    try:
        master = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        master = b""
    if len(master) != _SIZE:
        raise UserError(f"{where} does not hold a key: expected {_SIZE} bytes in base64")
    return master


def _make(path: Path) -> bytes:
    """A new key, complete and durable before it has its name; whoever came first wins."""
    master = os.urandom(_SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, base64.b64encode(master) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return _decode(path.read_text("ascii", errors="replace"), str(path))
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return master
