"""The crash journal: which events were in a stage when the process died.

A mapped file survives ``SIGKILL`` without a write to the disk. The first page holds the mark of
what is in a stage now, the second what earlier deaths have shown.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from schemas.log import Partition

PAGE = 4096
DEATHS = 2
"""Deaths in one range of offsets before it is read one event at a time, and at one event in that
mode before the event is isolated."""
MAX_SUSPECTS = 16

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
    """Marks of one worker; :meth:`open` first draws the conclusions from how the last one ended."""

    def __init__(self, path: Path, stages: tuple[str, ...]) -> None:
        self._stages = stages
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, 2 * PAGE)
            self._map = mmap.mmap(descriptor, 2 * PAGE)
        finally:
            os.close(descriptor)
        self.suspects = self._load()

    def learn(self, committed: Mapping[Partition, int]) -> None:
        """Counts the death that the mark shows, if it shows one, and forgets what is committed."""
        kept = [
            s for s in self.suspects if s.last >= committed.get(Partition(s.topic, s.partition), 0)
        ]
        mark = self._mark()
        self.idle()
        if mark is not None:
            kept = _count_death(kept, *mark)
        self.suspects = kept[-MAX_SUSPECTS:]
        self._save()

    @property
    def careful(self) -> dict[Partition, tuple[tuple[int, int], ...]]:
        """Ranges to be read one event at a time."""
        found: dict[Partition, tuple[tuple[int, int], ...]] = {}
        for s in self.suspects:
            if s.careful or s.isolated:
                partition = Partition(s.topic, s.partition)
                found[partition] = (*found.get(partition, ()), (s.first, s.last))
        return found

    @property
    def isolated(self) -> dict[tuple[str, int, int], str]:
        """(topic, partition, offset) of events that kill the process, with the stage of death."""
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

    def _mark(self) -> tuple[bool, Suspect] | None:
        state, stage, length, _, number, first, last = _MARK.unpack_from(self._map, 0)
        if state not in (_WORKING, _HUNG) or last < first or stage >= len(self._stages):
            return None
        topic = bytes(self._map[_MARK.size : _MARK.size + length]).decode(errors="replace")
        return state == _HUNG, Suspect(topic, number, first, last, stage=self._stages[stage])

    def _load(self) -> list[Suspect]:
        length, check = struct.unpack_from("<II", self._map, PAGE)
        data = bytes(self._map[PAGE + 8 : PAGE + 8 + min(length, PAGE - 8)])
        if not length or zlib.crc32(data) != check:
            return []
        return msgspec.json.decode(data, type=list[Suspect])

    def _save(self) -> None:
        data = msgspec.json.encode(self.suspects)
        while len(data) > PAGE - 8:
            self.suspects = self.suspects[1:]
            data = msgspec.json.encode(self.suspects)
        self._map[PAGE + 8 : PAGE + 8 + len(data)] = data
        struct.pack_into("<II", self._map, PAGE, len(data), zlib.crc32(data))
        self._map.flush()


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
