"""The user directory in a TOML file: to which tenant a user belongs, and from when."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from schemas.items import UserFacts
from stages.lookup.memberships import ALWAYS, NOBODY, Memberships
from stages.lookup.prices import midnight
from stages.lookup.tomlfile import FileError, read_toml


class _User(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, description="the user id as events name it")
    tenant: str = Field(min_length=1, description="the tenant's name")
    organisation: str | None = Field(
        default=None, min_length=1, description="the organisation's name"
    )
    since: datetime.date | None = Field(
        default=None, alias="from", description="a date, YYYY-MM-DD"
    )


class _Users(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    users: list[_User] = Field(default=[], description="an array of tables with id and tenant")


class TomlDirectory:
    """Memberships, each from a day (UTC) or since ever, read at the event's own time.

    The list is append-only: a move is another entry with its day, never a changed one. ``screen``
    is what the PII stage does to an identifier, so that a user whose id is personal data is found
    by the pseudonym that events carry. Without a file every user is unknown. Raises
    :class:`FileError` for a file it cannot use.
    """

    def __init__(self, path: Path | None, screen: Callable[[str], str]) -> None:
        self._users: dict[str, Memberships] = {}
        if path is None:
            return
        found: dict[str, dict[int, UserFacts]] = {}
        for number, user in enumerate(read_toml(path, _Users).users, 1):
            memberships = found.setdefault(screen(user.id), {})
            start = ALWAYS if user.since is None else midnight(user.since)
            if start in memberships:
                raise FileError(path, f"users[{number}]", "a user has two entries from one day")
            memberships[start] = UserFacts(user.tenant, user.organisation, known=True)
        self._users = {user_id: Memberships.of(by_start) for user_id, by_start in found.items()}

    def __len__(self) -> int:
        return len(self._users)

    def lookup(self, users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
        """For (user id as screened, event time in µs): tenant and organisation then."""
        return [self._users.get(user, NOBODY).at(time) for user, time in users]

    @property
    def users(self) -> Mapping[str, Memberships]:
        """Every user's history, by the id that events carry."""
        return self._users
