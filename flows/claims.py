"""Claims as the worker uses them: counted, and with their outages shown."""

from __future__ import annotations

from collections.abc import Sequence

from flows.control import Control
from flows.metrics import Metrics
from schemas.log import Origin
from schemas.ports import Claim, Claims, Unavailable, Verdict
from schemas.records import RecordId


class CountedClaims:
    """:class:`schemas.ports.Claims` that counts events read again and events that pass unclaimed.

    Claims fail open: while the claim store is down the work goes on without it.
    """

    def __init__(self, claims: Claims, control: Control, metrics: Metrics) -> None:
        self._claims = claims
        self._control = control
        self._metrics = metrics
        self._missed: str | None = None

    def claim(self, claims: Sequence[Claim], /) -> Sequence[Verdict]:
        try:
            verdicts = self._claims.claim(claims)
        except Unavailable as error:
            self._missed = error.what
            self._control.degrade(error.what, error.code)
            self._metrics.unclaimed(len(claims))
            raise
        if self._missed is not None:
            self._control.degrade(self._missed, None)
            self._missed = None
        again = verdicts.count("replay")
        if again:
            self._metrics.redelivered(claims[0].origin.topic, again)
        return verdicts

    def release(self, held: Sequence[tuple[RecordId, Origin]], /) -> None:
        self._claims.release(held)

    def flush(self) -> None:
        self._claims.flush()
