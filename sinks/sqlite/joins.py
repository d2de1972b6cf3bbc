"""Where responses and prompts meet, in either order of arrival."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schemas.items import Embedded, PromptSide
from schemas.ports import Waiting
from sinks.common.packing import body
from sinks.common.responses import prompt_of
from sinks.sqlite import join_rows as rows
from sinks.sqlite.database import Database
from sinks.sqlite.lookup import select_in
from sinks.sqlite.overlay import Overlay

PART = "joins"
_EXPIRE_STEP_MS = 60_000
_NEVER = -(1 << 63)

_sides = msgspec.msgpack.Decoder(PromptSide)


class SqliteJoins:
    """:class:`schemas.ports.Joins` with rows that stay until they expire.

    Answers do not wait for commits. A write that fails later is forgotten and its error raised by
    the next call and by :meth:`flush`, which the barrier calls before it commits offsets.

    The orphan fact must outlive a crash between :meth:`overdue` and the writes that follow from
    it: what :meth:`overdue` answered is answered again by the next run, until :meth:`confirm`.

    At most ``limit`` rows a side are kept (the youngest). One process joins at a time.
    """

    def __init__(
        self, database: Database, *, limit: int = 2_000_000, remembered: int = 10_000
    ) -> None:
        self._database = database
        self._limit = limit
        self._prompts: Overlay[str, PromptSide] = Overlay(remembered)
        self._waiting: Overlay[str, dict[str, Waiting]] = Overlay(0)
        self._lock = threading.Lock()
        self._floor = self._swept = _NEVER
        self._oldest = _NEVER
        self._recovering = True
        self._announced = self._confirmed = 0

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        """See :meth:`schemas.ports.Joins.add_prompts`. Every prompt id is in the answer.

        A side with an unknown user does not replace one with a known user.
        """
        with self._lock:
            self._settle()
            ids = list(dict.fromkeys(side.prompt_id for side, _ in sides))
            found = self._responses_of(ids)
            # Only a side that knows less than the stored one may not replace it.
            before = self._sides_of([s.prompt_id for s, _ in sides if not s.user.known])
            kept: dict[str, PromptSide] = {}
            for side, _ in sides:
                old = kept.get(side.prompt_id) or before.get(side.prompt_id)
                if old is None or side.user.known or not old.user.known:
                    kept[side.prompt_id] = side
            met = [w.response.event.id for waiting in found.values() for w in waiting]
            job = rows.prompts_job(sides, met, self._floor, self._limit)
            self._prompts.put(kept, self._database.submit(PART, job))
            return found

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        """See :meth:`schemas.ports.Joins.add_responses`; stores those whose prompt is not known."""
        with self._lock:
            self._settle()
            sides = self._sides_of(list(dict.fromkeys(prompt_of(w) for w in waiting)))
            held = self._held_responses(waiting)
            answer: dict[str, tuple[PromptSide | None, bool]] = {}
            new: dict[str, Waiting] = {}
            for item in waiting:
                id_ = item.response.event.id
                orphan = held.get(id_, False) or item.orphan
                side = sides.get(prompt_of(item))
                answer[id_] = (side, orphan)
                if side is None and id_ not in held and id_ not in new:
                    new[id_] = _without_original(item)
            if new:
                self._store(new)
            return answer

    def overdue(self, before: int, limit: int, /) -> Sequence[Waiting]:
        """See :meth:`schemas.ports.Joins.overdue`. First those of an earlier run that were not
        confirmed, whatever their log time. Cheap when nothing is due."""
        with self._lock:
            if not self._recovering and before <= self._oldest:
                return ()
            mark = self._announced + 1
            due = self._database.run(PART, rows.overdue_job(before, limit, mark, mark == 1))
            self._announced = mark
            self._recovering = due.more_recovered
            self._oldest = due.oldest
            self._settle()
            return due.responses

    def unheard(self) -> None:
        """See :meth:`schemas.ports.Joins.unheard`."""
        with self._lock:
            self._recovering = True
            job = rows.unheard_job(self._announced)
            self._prompts.put({}, self._database.submit(PART, job))

    def seal(self) -> int:
        """A mark of what :meth:`overdue` answered so far, to be confirmed when it is written."""
        return self._announced

    def confirm(self, mark: int) -> None:
        """What followed from the orphans answered up to ``mark`` is written. Does not wait."""
        with self._lock:
            if mark > self._confirmed:
                self._confirmed = mark
                self._prompts.put({}, self._database.submit(PART, rows.confirm_job(mark)))

    def expire(self, before: int, /) -> None:
        """See :meth:`schemas.ports.Joins.expire`. Expired rows are not seen any more at once; they
        are removed a few at a time."""
        with self._lock:
            self._floor = max(self._floor, before)
            if self._floor >= self._swept + _EXPIRE_STEP_MS:
                self._swept = self._floor
                job = rows.sweep_job(1_000, self._floor, self._limit)
                self._prompts.put({}, self._database.submit(PART, job))

    def flush(self) -> None:
        """Waits until everything so far is committed. Raises Unavailable where something since the
        last flush was lost: the log has to be read again."""
        with self._lock:
            try:
                self._waiting.flush()
            finally:
                self._prompts.flush()

    def _settle(self) -> None:
        self._waiting.settle()
        self._prompts.settle()

    def _store(self, new: Mapping[str, Waiting]) -> None:
        by_prompt: dict[str, dict[str, Waiting]] = {}
        for id_, item in new.items():
            by_prompt.setdefault(prompt_of(item), {})[id_] = item
        under_way, _ = self._waiting.find(by_prompt)
        merged = {key: {**under_way.get(key, {}), **value} for key, value in by_prompt.items()}
        job = rows.responses_job(list(new.values()), self._floor, self._limit)
        self._waiting.put(merged, self._database.submit(PART, job))
        self._oldest = min([self._oldest, *(w.log_time for w in new.values() if not w.orphan)])

    def _sides_of(self, ids: Sequence[str]) -> dict[str, PromptSide]:
        known, missing = self._prompts.find(ids)
        if missing:
            found = {
                row[0]: _sides.decode(body(row[1]))
                for row in self._read(rows.SELECT_SIDES, missing)
                if row[2] >= self._floor
            }
            self._prompts.remember(found)
            known.update(found)
        return known

    def _held_responses(self, waiting: Sequence[Waiting]) -> dict[str, bool]:
        """The orphan fact of those responses that are held."""
        ids = [w.response.event.id for w in waiting]
        under_way, _ = self._waiting.find({prompt_of(w) for w in waiting})
        held = {id_: w.orphan for group in under_way.values() for id_, w in group.items()}
        for id_, orphan, log_time in self._read(rows.SELECT_ORPHANS, ids):
            if log_time >= self._floor:
                held[id_] = bool(orphan)
        return held

    def _responses_of(self, ids: Sequence[str]) -> dict[str, Sequence[Waiting]]:
        found: dict[str, dict[str, Waiting]] = {id_: {} for id_ in ids}
        under_way, _ = self._waiting.find(ids)
        for prompt_id, group in under_way.items():
            found[prompt_id].update(group)
        for row in self._read(rows.SELECT_WAITING, ids):
            item = rows.waiting(row)
            found[prompt_of(item)][item.response.event.id] = item
        return {
            id_: tuple(w for _, w in sorted(group.items()) if w.log_time >= self._floor)
            for id_, group in found.items()
        }

    def _read(self, query: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return select_in(connection, query, keys)

        return self._database.read(PART, read)


def _without_original(waiting: Waiting) -> Waiting:
    """Raw bytes are never stored here; a dead letter of a completed record goes without."""
    item = waiting.response
    if item.original is None:
        return waiting
    kept = Embedded(item.event, vector=item.vector, vector_model=item.vector_model)
    return Waiting(kept, waiting.log_time, waiting.orphan)
