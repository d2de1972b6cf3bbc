"""The join store as two dictionaries: the in-memory twin of :class:`schemas.ports.Joins`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from schemas.items import PromptSide, ScreenedResponse
from schemas.ports import Unavailable, Waiting


class MemoryJoins:
    """``down`` makes it unavailable."""

    def __init__(self) -> None:
        self.down = False
        self.prompts: dict[str, tuple[PromptSide, int]] = {}
        self.responses: dict[str, Waiting] = {}
        self._told: list[Waiting] = []
        self._again: list[Waiting] = []

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        self._check()
        for side, log_time in sides:
            self.prompts[side.prompt_id] = (side, log_time)
        return {
            side.prompt_id: [
                waiting
                for waiting in self.responses.values()
                if _prompt_id(waiting) == side.prompt_id
            ]
            for side, _ in sides
        }

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        self._check()
        answers = {}
        for one in waiting:
            id_ = one.response.event.id
            held = self.responses.setdefault(id_, one)
            side, _ = self.prompts.get(_prompt_id(one), (None, 0))
            answers[id_] = (side, held.orphan)
        return answers

    def overdue(self, before: int, limit: int, /) -> Sequence[Waiting]:
        self._check()
        if self._again:
            again, self._again = self._again[:limit], self._again[limit:]
            self._told = again
            return again
        due = [
            waiting
            for waiting in self.responses.values()
            if waiting.log_time < before
            and not waiting.orphan
            and _prompt_id(waiting) not in self.prompts
        ]
        due.sort(key=lambda waiting: (waiting.log_time, waiting.response.event.id))
        told = [msgspec.structs.replace(waiting, orphan=True) for waiting in due[:limit]]
        for waiting in told:
            self.responses[waiting.response.event.id] = waiting
        self._told = told
        return told

    def unheard(self) -> None:
        self._again += self._told

    def expire(self, before: int, /) -> None:
        self.prompts = {k: v for k, v in self.prompts.items() if v[1] >= before}
        self.responses = {k: w for k, w in self.responses.items() if w.log_time >= before}

    def _check(self) -> None:
        if self.down:
            raise Unavailable("joins", "down")


def _prompt_id(waiting: Waiting) -> str:
    event = waiting.response.event
    assert isinstance(event, ScreenedResponse)
    return event.prompt_id
