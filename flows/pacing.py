"""How much work a record will be, learnt from the work that records have been."""

from __future__ import annotations

DECAY = 0.9
FIRST_EVENT = 0.005
"""Assumed seconds an event before anything was measured: chunks start small."""


class Pace:
    """Seconds as ``per_event * events + per_byte * bytes``, least squares over recent chunks.

    Older chunks count for ``DECAY`` per chunk less, so the estimate follows a change of load. What
    the two-parameter fit cannot tell apart (chunks of one shape) falls back to seconds a byte.
    """

    def __init__(self) -> None:
        self.per_event = FIRST_EVENT
        self.per_byte = 0.0
        self._nn = self._nb = self._bb = self._nt = self._bt = 0.0

    def observe(self, events: int, size: int, seconds: float) -> None:
        """One chunk of ``events`` records and ``size`` bytes took ``seconds``."""
        if events == 0:
            return
        # Each chunk weighs by 1/events, so that many small ones and one large one count alike.
        weight = 1.0 / events
        self._nn = self._nn * DECAY + weight * events * events
        self._nb = self._nb * DECAY + weight * events * size
        self._bb = self._bb * DECAY + weight * size * size
        self._nt = self._nt * DECAY + weight * events * seconds
        self._bt = self._bt * DECAY + weight * size * seconds
        determinant = self._nn * self._bb - self._nb * self._nb
        if determinant > 0.05 * self._nn * self._bb:
            self.per_event = (self._nt * self._bb - self._bt * self._nb) / determinant
            self.per_byte = (self._bt * self._nn - self._nt * self._nb) / determinant
            if self.per_event >= 0 and self.per_byte >= 0:
                return
        self.per_event = 0.0
        self.per_byte = self._bt / self._bb if self._bb else 0.0

    def estimate(self, size: int) -> float:
        """Seconds that one record of ``size`` bytes will take."""
        return self.per_event + self.per_byte * size
