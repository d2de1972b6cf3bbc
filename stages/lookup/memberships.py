"""To which tenant a user belonged at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.items import UserFacts

ALWAYS: Final = -(1 << 63)
"""The start of a membership that names none."""
UNKNOWN: Final = UserFacts()


class Memberships(NamedTuple):
    """A user's history: ``facts[i]`` hold from ``starts[i]`` on (µs since 1970), ascending."""

    starts: tuple[int, ...]
    facts: tuple[UserFacts, ...]

    @classmethod
    def of(cls, by_start: Mapping[int, UserFacts]) -> Memberships:
        starts = tuple(sorted(by_start))
        return cls(starts, tuple(by_start[start] for start in starts))

    def at(self, time: int) -> UserFacts:
        """What holds at an event's own time; before the first one, the user is unknown."""
        place = bisect_right(self.starts, time)
        return self.facts[place - 1] if place else UNKNOWN


NOBODY: Final = Memberships((), ())
