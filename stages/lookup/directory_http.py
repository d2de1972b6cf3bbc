"""The user directory behind HTTP; ``directory.openapi.yaml`` is its contract."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

from schemas.items import UserFacts
from schemas.ports import Unavailable
from stages.holdoff import Holdoff
from stages.http import HttpService, Refused
from stages.lookup.memberships import ALWAYS, NOBODY, Memberships
from stages.lookup.settings import LookupSettings

PATH: Final = "/v1/memberships/lookup"
BATCH: Final = 500
"""Most users in one request."""
REMEMBERED: Final = 100_000
LONG: Final = 512
"""Characters: longer ids are not remembered, so that the bound is one of memory too."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


class _Membership(msgspec.Struct, frozen=True):
    tenant: Annotated[str, msgspec.Meta(min_length=1)]
    organisation: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(
        default=None, name="from"
    )


class _Answer(msgspec.Struct, frozen=True):
    users: dict[str, list[_Membership]]


_answers = msgspec.json.Decoder(_Answer)


class HttpDirectory:
    """:class:`schemas.ports.Directory`: users' histories, asked for in batches by the ids that
    events carry after screening, and read here at each event's own time.

    Histories, also empty ones, are remembered for ``directory_cache_seconds``, never longer.
    Raises Unavailable; at once while the service is known to be down or has asked for a pause.
    Safe from any thread.
    """

    def __init__(
        self, settings: LookupSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = HttpService(
            "directory",
            settings.directory_url,
            token=settings.directory_token.get_secret_value(),
            ca=settings.directory_ca,
            deadline=settings.directory_deadline_seconds,
        )
        self._keep = settings.directory_cache_seconds
        self._clock = clock
        self._holdoff = Holdoff("directory", clock)
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, Memberships]] = OrderedDict()
        self.asked = 0
        """Users asked for since the start."""

    def lookup(self, users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
        """See :meth:`schemas.ports.Directory.lookup`."""
        wanted = dict.fromkeys(user for user, _ in users)
        now = self._clock()
        found: dict[str, Memberships] = {}
        with self._lock:
            for user in wanted:
                held = self._held.get(user)
                if held is not None and now < held[0]:
                    found[user] = held[1]
        missing = [user for user in wanted if user not in found]
        for start in range(0, len(missing), BATCH):
            found |= self._ask(missing[start : start + BATCH])
        return [found[user].at(time) for user, time in users]

    def close(self) -> None:
        self._service.close()

    def _ask(self, users: Sequence[str]) -> dict[str, Memberships]:
        self._holdoff.check()
        try:
            body = self._service.post(PATH, msgspec.json.encode({"users": users}))
            answer = _answers.decode(body).users
            found = {user: _memberships(answer.get(user, ())) for user in users}
        except Refused as error:
            raise self._holdoff.failed(error.code, error.retry_after) from None
        except Unavailable as error:
            raise self._holdoff.failed(error.code) from None
        except (msgspec.DecodeError, ValueError, OverflowError):
            raise self._holdoff.failed("malformed_answer") from None
        self._holdoff.worked()
        until = self._clock() + self._keep
        with self._lock:
            self.asked += len(users)
            for user, memberships in found.items():
                if len(user) <= LONG:
                    self._held[user] = until, memberships
                    self._held.move_to_end(user)
            while len(self._held) > REMEMBERED:
                self._held.popitem(last=False)
        return found


def _memberships(found: Sequence[_Membership]) -> Memberships:
    """Raises ValueError for two memberships from one moment on."""
    by_start: dict[int, UserFacts] = {}
    for membership in found:
        start = ALWAYS if membership.since is None else (membership.since - _EPOCH) // _US
        if start in by_start:
            raise ValueError
        by_start[start] = UserFacts(membership.tenant, membership.organisation, known=True)
    return Memberships.of(by_start) if by_start else NOBODY
