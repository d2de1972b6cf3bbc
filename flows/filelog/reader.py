"""Reads one partition of a file log from a position, in large blocks."""

from __future__ import annotations

import binascii
import hashlib
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from flows.filelog.errors import LineDamaged, LogGap, LogShrank
from flows.filelog.layout import segment_bases, segment_path
from flows.filelog.lines import Line, decode_line, to_record
from schemas.log import LogRecord, Partition

BLOCK = 256 * 1024
MAX_LINE = 256 * 1024 * 1024


class Position(msgspec.Struct, frozen=True):
    """How far a partition was consumed.

    ``offset`` is the next to read; ``byte`` is where the last line consumed ends in segment
    ``base``, ``mark`` the keyed hash of that line; ``log_time`` is the greatest timestamp consumed.
    """

    offset: int = 0
    base: int = 0
    byte: int = 0
    mark: bytes = b""
    log_time: int = 0


START = Position()


class PartitionReader:
    """Hands out the records of one partition in order.

    ``key`` keys the hash in positions, so that they say nothing of the text of a line. Raises
    :class:`LogShrank` or :class:`LogGap` when the log does not continue what ``position`` says was
    consumed, and :class:`LineDamaged` for a complete line that is not a record. The last line
    without a line feed is not there yet.
    """

    def __init__(
        self, log_dir: Path, partition: Partition, position: Position = START, key: bytes = b""
    ) -> None:
        self.partition = partition
        self._dir = log_dir
        self._key = key
        self._offset, self._base, self._byte = position.offset, position.base, position.byte
        self._last: bytes | None = None
        self._taken = (position.offset, position.base, position.byte)
        self._log_time = position.log_time
        self._resumed = position
        self._file: FileIO | None = None
        self._lines: list[bytes] = []
        self._next = 0
        self._end = position.byte
        self._head: Line | None = None
        self._open(position)

    def head(self) -> int | None:
        """The log timestamp of the next record in ms; None when there is none now."""
        if self._head is None:
            if self._next >= len(self._lines) and not self._fill():
                return None
            self._head = self._decode(self._lines[self._next])
        return self._head.timestamp

    def take(self, limit: int, admit: Callable[[int], bool]) -> list[LogRecord]:
        """Up to ``limit`` records, at least one if there is one, while ``admit`` agrees to the
        bytes of the next line."""
        taken: list[LogRecord] = []
        topic, number = self.partition.topic, self.partition.number
        while len(taken) < limit:
            if self.head() is None:
                break
            line = self._lines[self._next]
            if not admit(len(line)) and taken:
                break
            assert self._head is not None
            try:
                record = to_record(self._head, topic, number, self._offset)
            except (ValueError, binascii.Error):
                raise self._damaged("no value, or base64 that is none") from None
            taken.append(record)
            self._log_time = max(self._log_time, record.origin.timestamp)
            self._head = None
            self._last = line
            self._next += 1
            self._byte += len(line) + 1
            self._offset += 1
            self._taken = (self._offset, self._base, self._byte)
        return taken

    @property
    def offset(self) -> int:
        """The next offset to take."""
        return self._offset

    @property
    def position(self) -> Position:
        """The position after the last record taken."""
        if self._last is None:
            return self._resumed
        offset, base, byte = self._taken
        return Position(offset, base, byte, _mark(self._last, self._key), self._log_time)

    @property
    def torn(self) -> Path | None:
        """The segment whose last line has no end, when everything before it was taken."""
        path = segment_path(self._dir, self.partition, self._base)
        try:
            return path if self.head() is None and path.stat().st_size > self._byte else None
        except FileNotFoundError:
            return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, position: Position) -> None:
        bases = segment_bases(self._dir, self.partition)
        folder = segment_path(self._dir, self.partition, 0).parent
        if position.offset == 0:
            if bases and bases[0] != 0:
                raise LogGap(folder, 0, bases[0])
            return
        if position.base not in bases:
            if position.offset in bases:
                self._base, self._byte, self._end = position.offset, 0, 0
                return
            if not bases or bases[0] <= position.offset:
                raise LogShrank(folder, f"the segment that holds offset {position.offset} is gone")
            raise LogGap(folder, position.offset, bases[0])
        path = segment_path(self._dir, self.partition, position.base)
        with path.open("rb") as file:
            if path.stat().st_size < position.byte:
                raise LogShrank(path, f"it ends before the committed offset {position.offset}")
            if _mark(_line_before(file, position.byte), self._key) != position.mark:
                raise LogShrank(path, f"the line before offset {position.offset} has changed")

    def _fill(self) -> bool:
        """Reads the next block of complete lines; False when there is none now."""
        rolled = False
        while True:
            block = self._read_block()
            if block is not None:
                end = block.rfind(b"\n")
                self._lines = block[:end].split(b"\n")
                self._next = 0
                self._end += end + 1
                return True
            if rolled:
                self._base, self._byte, self._end = self._offset, 0, 0
                self.close()
                rolled = False
                continue
            if self._offset == self._base or not self._rolled():
                return False
            rolled = True

    def _rolled(self) -> bool:
        return segment_path(self._dir, self.partition, self._offset).exists()

    def _read_block(self) -> bytes | None:
        """Bytes from the end of the last complete line read that hold a line feed, or None."""
        if self._file is None:
            try:
                path = segment_path(self._dir, self.partition, self._base)
                self._file = FileIO(path)
            except FileNotFoundError:
                return None
        size = BLOCK
        while True:
            block = os.pread(self._file.fileno(), size, self._end)
            end = block.find(b"\n")
            if end >= 0:
                # What else a long line's block holds would stay in memory, in every partition.
                return block if size == BLOCK else block[: end + 1]
            if len(block) < size:
                return None
            if size >= MAX_LINE:
                raise self._damaged(f"a line of more than {MAX_LINE} bytes")
            size *= 4

    def _decode(self, line: bytes) -> Line:
        try:
            return decode_line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise self._damaged("not a record of the file log") from None

    def _damaged(self, what: str) -> LineDamaged:
        path = segment_path(self._dir, self.partition, self._base)
        return LineDamaged(path, self._offset - self._base + 1, self._offset, what)


def _mark(line: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16, key=key).digest()


def _line_before(file: BinaryIO, end: int) -> bytes:
    """The line that ends, with its line feed, at byte ``end``; without the line feed."""
    size = 4096
    while True:
        start = max(0, end - size)
        file.seek(start)
        block = file.read(end - start)[:-1]
        cut = block.rfind(b"\n")
        if cut >= 0 or start == 0:
            return block[cut + 1 :]
        size *= 4
