"""Where responses and prompts of many processes meet, in either order of arrival."""

from __future__ import annotations

import contextlib
import struct
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from schemas.items import PromptSide
from schemas.ports import Unavailable, Waiting
from sinks.common.packing import body, pack
from sinks.common.responses import pack_response, prompt_of, unpack_response
from sinks.redis import join_scripts as scripts
from sinks.redis.recall import Recall
from sinks.redis.server import RedisServer, Run, Script

PART = "joins"
LEASE_SECONDS = 60.0
_NEVER = -(1 << 63)
_MOST = 500
_HEAD = struct.Struct(">qI")

_sides = msgspec.msgpack.Decoder(PromptSide)


class RedisJoins:
    """:class:`schemas.ports.Joins` with rows that stay until they expire, for many processes.

    Each call is one script, so that of a prompt and a response that two processes add at the same
    moment the second one sees the first. All is done when a call returns. A call that raised may
    have done its work: made again it answers the same.

    What :meth:`overdue` answered is answered again while it is not confirmed: at once to the next
    run of the same ``member`` (a name that no two processes use at a time, and that a process has
    again after a restart), and to any other member once ``lease_seconds`` are over. The lease is
    measured on the server's clock; it decides only who writes an orphan, never whether there is
    one, and writing one twice is a rewrite.

    At most ``limit`` rows a side are kept (those of the greatest log times); expired rows go a few
    with every call. Rows hold screened texts and vectors in the server's memory and its append-only
    file; who may read those is the server's business (TLS, ACLs, disk encryption). Their keys never
    expire on the server: with ``volatile-ttl`` caches and claims are evicted first, and a full
    server is Unavailable (``out_of_memory``).

    A server that loses its last second (``appendfsync everysec`` and a power cut, or a failover)
    forgets rows and orphan facts. Whoever added rows within the last seconds adds them again when
    it meets the server's next run; if they then meet something that its earlier answers did not
    bring, :meth:`flush` raises, so that the log is read again. What both a server and a worker
    forget that die at the same moment is lost here: a response may then become an orphan although
    its prompt has come.
    """

    def __init__(
        self,
        server: RedisServer,
        store_set: Callable[[], str],
        *,
        member: str = "",
        limit: int = 2_000_000,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._server = server
        self._store_set = store_set
        self._member = member
        self._run = uuid.uuid4().hex
        self._limit = limit
        self._lease_ms = round(lease_seconds * 1_000)
        self._lock = threading.Lock()
        self._floor = _NEVER
        self._recovering = True
        self._announced = self._confirmed = self._told = 0
        self._open = False
        self._unheard: list[int] = []
        self._recall = Recall()
        self._missed = False
        server.reminders.append(self._remind)

    @cached_property
    def _base(self) -> str:
        return f"{self._server.prefix}:{self._store_set()}:join:"

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        """See :meth:`schemas.ports.Joins.add_prompts`. Every prompt id is in the answer.

        A side with an unknown user does not replace one with a known user.
        """
        found: dict[str, Sequence[Waiting]] = {}
        for start in range(0, len(sides), _MOST):
            part = sides[start : start + _MOST]
            arguments: list[object] = [self._floor, self._limit]
            for side, log_time in part:
                known = b"1" if side.user.known else b"0"
                arguments += (side.prompt_id, log_time, known + pack(side))
            answers = self._add(scripts.ADD_PROMPTS, arguments)
            for (side, _), met in zip(part, answers, strict=True):
                items = [_unpack(*row) for row in zip(met[1::3], met[2::3], strict=True)]
                found[side.prompt_id] = tuple(sorted(items, key=_id))
        return found

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        """See :meth:`schemas.ports.Joins.add_responses`; stores those whose prompt is not known,
        which alone are sent to the server."""
        answer: dict[str, tuple[PromptSide | None, bool]] = {}
        for start in range(0, len(waiting), _MOST):
            part = waiting[start : start + _MOST]
            asked: list[object] = [self._floor, self._limit]
            asked += [name for item in part for name in (prompt_of(item), _id(item))]
            self._note(answer, part, self._server.run(PART, scripts.LOOK, [self._base], asked))
            lone = [item for item in part if answer[_id(item)][0] is None]
            if lone:
                arguments: list[object] = [self._floor, self._limit]
                for item in lone:
                    arguments += (
                        _id(item), prompt_of(item), item.log_time, int(item.orphan), _pack(item)
                    )  # fmt: skip
                self._note(answer, lone, self._add(scripts.ADD_RESPONSES, arguments))
        return answer

    def overdue(self, before: int, limit: int, /) -> Sequence[Waiting]:
        """See :meth:`schemas.ports.Joins.overdue`. First those that were answered before and not
        confirmed, whatever their log time."""
        with self._lock:
            self._announced = mark = self._announced + 1
            arguments = [
                self._floor,
                self._limit,
                before,
                limit,
                self._member,
                self._run,
                mark,
                self._lease_ms,
                int(self._recovering),
                self._confirmable(),
                *self._unheard,
            ]
            try:
                answer = self._server.run(PART, scripts.OVERDUE, [self._base], arguments)
            except Unavailable:
                # The server may have announced what nobody has heard of.
                self._unheard.append(mark)
                self._open = True
                raise
            self._told = self._confirmed
            if not answer[0]:
                self._recovering = False
                self._unheard.clear()
            found = [_unpack(packed, 1) for packed in answer[1:]]
            self._open = self._open or bool(found)
            return tuple(sorted(found, key=lambda item: (item.log_time, _id(item))))

    def unheard(self) -> None:
        """See :meth:`schemas.ports.Joins.unheard`."""
        with self._lock:
            self._unheard.append(self._announced)
            self._open = True

    def seal(self) -> int:
        """A mark of what :meth:`overdue` answered so far, to be confirmed when it is written."""
        return self._announced

    def confirm(self, mark: int, /) -> None:
        """See :meth:`schemas.ports.Joins.confirm`. Sent with the next call, or :meth:`flush`."""
        with self._lock:
            self._confirmed = max(self._confirmed, mark)

    def expire(self, before: int, /) -> None:
        """See :meth:`schemas.ports.Joins.expire`. Rows go a few at a time, with later calls."""
        self._floor = max(self._floor, before)

    def flush(self) -> None:
        """Tells the server what is confirmed. Rows were stored when their calls returned; a
        confirmation that cannot be sent now costs a rewrite at worst. Raises Unavailable
        (``restarted``) where a server that forgot rows has kept some from meeting."""
        with self._lock:
            missed, self._missed = self._missed, False
            if missed:
                raise Unavailable(PART, "restarted")
            if self._open and self._told < self._confirmed:
                with contextlib.suppress(Unavailable):
                    arguments = [self._run, self._confirmable()]
                    self._server.run(PART, scripts.CONFIRM, [self._base], arguments)
                    self._told = self._confirmed
                    self._open = self._confirmed < self._announced or bool(self._unheard)

    def _add(self, script: Script, arguments: list[object]) -> Any:
        """Runs a script that adds rows, and keeps in mind that it did."""
        answers = self._server.run(PART, script, [self._base], arguments)
        self._recall.note(script, arguments, _met(script, arguments, answers))
        return answers

    def _remind(self, run: Run) -> None:
        """Adds again what this process added last: the server may have forgotten it."""
        for told in self._recall.recent():
            answers = run(told.script, 1, self._base, *told.arguments)
            if not _met(told.script, told.arguments, answers) <= told.met:
                self._missed = True

    def _confirmable(self) -> int:
        """Nothing from the first mark on whose answer was not heard."""
        return min([self._confirmed, *(mark - 1 for mark in self._unheard)])

    def _note(
        self,
        answer: dict[str, tuple[PromptSide | None, bool]],
        part: Sequence[Waiting],
        answers: Sequence[bytes | int | None],
    ) -> None:
        for item, side, orphan in zip(part, answers[::2], answers[1::2], strict=True):
            known = _sides.decode(body(side[1:])) if isinstance(side, bytes) else None
            answer[_id(item)] = (known, bool(orphan) or item.orphan)


def _met(script: Script, arguments: Sequence[Any], answers: Sequence[Any]) -> frozenset[str]:
    """The responses of which the answer tells that they have met their prompt."""
    if script is scripts.ADD_PROMPTS:
        return frozenset(id_.decode() for met in answers for id_ in met[::3])
    ids = arguments[2::5]
    return frozenset(str(i) for i, side in zip(ids, answers[::2], strict=True) if side is not None)


def _id(waiting: Waiting) -> str:
    return waiting.response.event.id


def _pack(waiting: Waiting) -> bytes:
    """Log time and prompt id, where the scripts read them, before the response."""
    prompt = prompt_of(waiting).encode()
    return _HEAD.pack(waiting.log_time, len(prompt)) + prompt + pack_response(waiting.response)


def _unpack(packed: bytes, orphan: int) -> Waiting:
    log_time, length = _HEAD.unpack_from(packed)
    response = unpack_response(packed[_HEAD.size + length :])
    return Waiting(response, log_time, bool(orphan))
