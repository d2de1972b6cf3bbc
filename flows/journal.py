"""The crash journal: which events were in a stage when the process died.

A mapped file survives ``SIGKILL`` without a write to the disk. The first page holds the mark of
what is in a stage now, the second what earlier deaths have shown.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from schemas.log import Partition

PAGE = 4096
DEATHS = 2
"""Deaths in one range of offsets before it is read one event at a time, and at one event in that
mode before the event is isolated."""
MAX_SUSPECTS = 16

Page = mmap.mmap | bytes | bytearray
K = TypeVar("K")
V = TypeVar("V")

_MARK = struct.Struct("<BBBBiqq")
_IDLE, _WORKING, _HUNG = 0, 1, 2


class Suspect(msgspec.Struct, frozen=True):
    """A range of offsets, both included, in which the process died ``deaths`` times.

    ``careful``: read one event at a time; ``isolated``: a single event that is not run any more.
    """

    topic: str
    partition: int
    first: int
    last: int
    deaths: int = 0
    careful: bool = False
    isolated: bool = False
    stage: str = ""


class Journal:
    """Marks of one worker; :meth:`learn` draws the conclusions from how the last one ended.

    ``shared``: the :class:`SharedSuspects` of a supervised group. The supervisor draws the
    conclusions there, as soon as a member has died and before another one takes its partitions;
    this journal follows them while it runs.
    """

    def __init__(self, path: Path, stages: tuple[str, ...], shared: Path | None = None) -> None:
        self._stages = stages
        self._shared = None if shared is None else SharedSuspects(shared)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, 2 * PAGE)
            self._map = mmap.mmap(descriptor, 2 * PAGE)
        finally:
            os.close(descriptor)
        self._suspects = load_suspects(self._map)

    @property
    def suspects(self) -> list[Suspect]:
        """What is suspected now."""
        return self._suspects if self._shared is None else self._shared.current()

    def learn(self, committed: Mapping[Partition, int]) -> None:
        """Counts the death that the mark shows, if it shows one, and forgets what is committed."""
        if self._shared is not None:
            self.idle()
            return
        kept = [
            s for s in self.suspects if s.last >= committed.get(Partition(s.topic, s.partition), 0)
        ]
        mark = read_mark(self._map, self._stages)
        self.idle()
        if mark is not None:
            kept = _count_death(kept, *mark)
        self._suspects = save_suspects(self._map, kept[-MAX_SUSPECTS:])

    @property
    def careful(self) -> Mapping[Partition, tuple[tuple[int, int], ...]]:
        """Ranges to be read one event at a time."""
        return self._careful() if self._shared is None else Followed(self._careful)

    @property
    def isolated(self) -> Mapping[tuple[str, int, int], str]:
        """(topic, partition, offset) of events that kill the process, with the stage of death."""
        return self._isolated() if self._shared is None else Followed(self._isolated)

    def _careful(self) -> dict[Partition, tuple[tuple[int, int], ...]]:
        found: dict[Partition, tuple[tuple[int, int], ...]] = {}
        for s in self.suspects:
            if s.careful or s.isolated:
                partition = Partition(s.topic, s.partition)
                found[partition] = (*found.get(partition, ()), (s.first, s.last))
        return found

    def _isolated(self) -> dict[tuple[str, int, int], str]:
        return {(s.topic, s.partition, s.first): s.stage for s in self.suspects if s.isolated}

    def enter(self, stage: int, partition: Partition, first: int, last: int) -> None:
        """Events ``first`` to ``last`` are in a stage from now on."""
        topic = partition.topic.encode()[:255]
        page = self._map
        page[_MARK.size : _MARK.size + len(topic)] = topic
        _MARK.pack_into(page, 0, _WORKING, stage, len(topic), 0, partition.number, first, last)

    def idle(self) -> None:
        """No event is in a stage."""
        self._map[0] = _IDLE

    def hung(self) -> None:
        """The marked events have used up their time: proof, where a death is a suspicion."""
        if self._map[0] == _WORKING:
            self._map[0] = _HUNG

    def close(self) -> None:
        self.idle()
        self._map.close()


class Followed(Mapping[K, V]):
    """A mapping that is made anew at every look."""

    def __init__(self, make: Callable[[], Mapping[K, V]]) -> None:
        self._make = make

    def __getitem__(self, key: K) -> V:
        return self._make()[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())


class SharedSuspects:
    """What the deaths of all members of a group have shown. One process writes, many read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: list[Suspect] = []
        self._looked = 0.0

    def current(self) -> list[Suspect]:
        """What is known, no older than a second."""
        now = time.monotonic()
        if now - self._looked > 1.0:
            self._looked = now
            with contextlib.suppress(FileNotFoundError):
                data = self._path.read_bytes()
                if len(data) == 2 * PAGE:
                    self._known = load_suspects(data)
        return self._known

    def count(self, journal: Path, stages: tuple[str, ...]) -> None:
        """Counts the death of the member whose journal this is. Raises OSError."""
        if not journal.exists() or not (data := journal.read_bytes()):
            return
        mark = read_mark(data, stages)
        if mark is None:
            return
        self._looked = 0.0
        page = bytearray(2 * PAGE)
        self._known = save_suspects(page, _count_death(self.current(), *mark)[-MAX_SUSPECTS:])
        new = self._path.with_suffix(".new")
        new.write_bytes(page)
        new.replace(self._path)
        journal.write_bytes(bytes(2 * PAGE))


def read_mark(page: Page, stages: tuple[str, ...]) -> tuple[bool, Suspect] | None:
    """What was in a stage: (has it used up its time, where)."""
    state, stage, length, _, number, first, last = _MARK.unpack_from(page, 0)
    if state not in (_WORKING, _HUNG) or last < first or stage >= len(stages):
        return None
    topic = bytes(page[_MARK.size : _MARK.size + length]).decode(errors="replace")
    return state == _HUNG, Suspect(topic, number, first, last, stage=stages[stage])


def load_suspects(page: Page) -> list[Suspect]:
    """What the second page says; nothing where it was torn."""
    length, check = struct.unpack_from("<II", page, PAGE)
    data = bytes(page[PAGE + 8 : PAGE + 8 + min(length, PAGE - 8)])
    if not length or zlib.crc32(data) != check:
        return []
    return msgspec.json.decode(data, type=list[Suspect])


def save_suspects(page: mmap.mmap | bytearray, suspects: list[Suspect]) -> list[Suspect]:
    """Writes the second page; answers those for which there was room, the latest."""
    data = msgspec.json.encode(suspects)
    while len(data) > PAGE - 8:
        suspects = suspects[1:]
        data = msgspec.json.encode(suspects)
    page[PAGE + 8 : PAGE + 8 + len(data)] = data
    struct.pack_into("<II", page, PAGE, len(data), zlib.crc32(data))
    if isinstance(page, mmap.mmap):
        page.flush()
    return suspects


def _count_death(suspects: list[Suspect], hung: bool, at: Suspect) -> list[Suspect]:
    """The suspicions after a death at ``at``."""
    for index, s in enumerate(suspects):
        if s.topic != at.topic or s.partition != at.partition or s.isolated:
            continue
        if (s.first, s.last) == (at.first, at.last):
            return [*suspects[:index], _accuse(s, hung, at.stage), *suspects[index + 1 :]]
        if not s.careful and s.first <= at.last and at.first <= s.last:
            # Chunks are not cut alike at every start: what both had in flight remains suspect.
            first, last = max(s.first, at.first), min(s.last, at.last)
            narrowed = msgspec.structs.replace(s, first=first, last=last)
            return [*suspects[:index], _accuse(narrowed, hung, at.stage), *suspects[index + 1 :]]
    careful = at.first == at.last and any(
        s.careful
        and (s.topic, s.partition) == (at.topic, at.partition)
        and s.first <= at.first <= s.last
        for s in suspects
    )
    return [*suspects, _accuse(msgspec.structs.replace(at, careful=careful), hung, at.stage)]


def _accuse(suspect: Suspect, hung: bool, stage: str) -> Suspect:
    deaths = suspect.deaths + 1
    proven = hung or deaths >= DEATHS
    single = suspect.first == suspect.last
    if single and suspect.careful and proven:
        return msgspec.structs.replace(suspect, deaths=deaths, isolated=True, stage=stage)
    if proven:
        return msgspec.structs.replace(suspect, deaths=0, careful=True, stage=stage)
    return msgspec.structs.replace(suspect, deaths=deaths, stage=stage)
