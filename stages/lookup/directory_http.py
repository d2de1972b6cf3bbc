"""The user directory behind HTTP; ``directory.openapi.yaml`` is its contract."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
import structlog

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

SPLITS: Final = 24
"""Most requests more, in one call, to find the user for whose sake the service refuses it."""
OWING_SECONDS: Final = 30.0
"""So long a user whom the service cannot answer for is not asked for again."""

_REFUSES_USER: Final = frozenset({400, 413, 422})
_MALFORMED: Final = "malformed_answer"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


class _Membership(msgspec.Struct, frozen=True):
    tenant: Annotated[str, msgspec.Meta(min_length=1)]
    organisation: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(
        default=None, name="from"
    )


class _Answer(msgspec.Struct, frozen=True):
    users: dict[str, msgspec.Raw]


_answers = msgspec.json.Decoder(_Answer)
_histories = msgspec.json.Decoder(list[_Membership])
_log = structlog.get_logger("directory")


class HttpDirectory:
    """:class:`schemas.ports.Directory`: users' histories, asked for in batches by the ids that
    events carry after screening, and read here at each event's own time.

    Histories, also empty ones, are remembered for ``directory_cache_seconds``, never longer.
    Raises Unavailable; at once while the service is known to be down or has asked for a pause, and
    after all others are answered where it cannot answer for one: it refuses a request that holds
    his id, or says something impossible of him. An empty id is nobody's. Safe from any thread.
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
        self._owing: dict[str, tuple[float, str]] = {}
        self.asked = 0
        """Users asked for since the start."""

    def lookup(self, users: Sequence[tuple[str, int]], /) -> Sequence[UserFacts]:
        """See :meth:`schemas.ports.Directory.lookup`."""
        wanted = dict.fromkeys(user for user, _ in users)
        now = self._clock()
        found: dict[str, Memberships] = {"": NOBODY}
        owing: dict[str, str] = {}
        with self._lock:
            for user in wanted:
                held = self._held.get(user)
                owed = self._owing.get(user)
                if held is not None and now < held[0]:
                    found[user] = held[1]
                elif owed is not None and now < owed[0]:
                    owing[user] = owed[1]
        missing = [user for user in wanted if user not in found and user not in owing]
        call = _Call()
        for start in range(0, len(missing), BATCH):
            found |= self._some(missing[start : start + BATCH], call)
        owing |= call.owing
        if owing:
            raise Unavailable("directory", min(owing.values()))
        return [found[user].at(time) for user, time in users]

    def close(self) -> None:
        self._service.close()

    def _some(self, users: Sequence[str], call: _Call) -> dict[str, Memberships]:
        """One request, and more where the service refuses it for the sake of one of the users, who
        is then among those that ``call`` is owing."""
        self._holdoff.check()
        try:
            body = self._service.post(PATH, msgspec.json.encode({"users": users}))
            answer = _answers.decode(body).users
        except Refused as error:
            if error.status not in _REFUSES_USER or call.splits == SPLITS:
                raise self._holdoff.failed(error.code, error.retry_after) from None
            refused = error.code
        except Unavailable as error:
            raise self._holdoff.failed(error.code) from None
        except (msgspec.DecodeError, ValueError):
            raise self._holdoff.failed(_MALFORMED) from None
        else:
            self._holdoff.worked()
            return self._read(users, answer, call)
        if len(users) == 1:
            self._owe(users[0], refused, call)
            return {}
        call.splits += 1
        middle = len(users) // 2
        return self._some(users[:middle], call) | self._some(users[middle:], call)

    def _read(
        self, users: Sequence[str], answer: dict[str, msgspec.Raw], call: _Call
    ) -> dict[str, Memberships]:
        found = {}
        for user in users:
            try:
                history = _histories.decode(answer[user]) if user in answer else ()
                found[user] = _memberships(history)
            except (msgspec.DecodeError, ValueError, OverflowError):
                self._owe(user, _MALFORMED, call)
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

    def _owe(self, user: str, code: str, call: _Call) -> None:
        call.owing[user] = code
        _log.warning("user_not_answered", code=code)
        with self._lock:
            if len(self._owing) >= BATCH:
                self._owing.clear()
            self._owing[user] = self._clock() + OWING_SECONDS, code


class _Call:
    """What the requests of one look-up share: splits so far, and whom there is no answer for."""

    def __init__(self) -> None:
        self.splits = 0
        self.owing: dict[str, str] = {}


def _memberships(found: Sequence[_Membership]) -> Memberships:
    """Raises ValueError for two memberships from one moment on."""
    by_start: dict[int, UserFacts] = {}
    for membership in found:
        start = ALWAYS if membership.since is None else (membership.since - _EPOCH) // _US
        if start in by_start:
            raise ValueError
        by_start[start] = UserFacts(membership.tenant, membership.organisation, known=True)
    return Memberships.of(by_start) if by_start else NOBODY
