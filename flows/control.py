"""What the parts of one running worker tell each other: stop, failure, health, cost of the work."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from bytewax.inputs import AbortExecution

from flows.breaker import Circuit
from schemas.ports import Unavailable

COMMITS = "offsets"
"""What does not work while commits fail."""


class Control:
    """Shared by the source, the stages' guards and the barriers of one worker.

    A part that cannot go on calls :meth:`fail`; the source then ends the dataflow before it commits
    anything more, so what is in flight is read again by the next start.

    ``spent``: seconds in stages since the source last asked. ``emitted``: items that came of an
    empty chunk. ``dirty``: something that a stage had written was lost; read again from what is
    committed. ``assigned``: how many partitions the source reads; None until it knows.
    ``unwritten``: what the outputs have of the epochs that ended, until the source takes it.
    ``finished``: everything that was read is committed, and only closing is left.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._failed = threading.Event()
        self._stopping = False
        self._quiet = quiet
        self._blocking: dict[str, str] = {}
        self._degraded: dict[str, str] = {}
        self._circuits: dict[str, Circuit] = {}
        self._beat: float | None = None
        self.assigned: int | None = None
        self.failure: BaseException | None = None
        self.spent = 0.0
        self.emitted = 0
        self.dirty = False
        self.finished = False
        self.unwritten: list[Future[None]] = []

    def stop(self) -> None:
        """Asks the source to read no more and to commit what was read. Safe in a handler."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping

    def fail(self, error: BaseException) -> None:
        """Ends the dataflow without a further commit. The first error wins."""
        if self.failure is None:
            self.failure = error
        self._failed.set()

    @property
    def failed(self) -> bool:
        return self._failed.is_set()

    def check(self) -> None:
        """Raises when some part has failed. Quiet: the owner asks for the failure itself. The
        source calls it at every turn of the main loop, so it is a :meth:`beat` as well."""
        self.beat()
        if not self._failed.is_set():
            return
        if self._quiet or self.failure is None:
            raise AbortExecution
        raise self.failure

    def beat(self) -> None:
        """The main loop is alive: it turns, or waits for something that it knows does not work."""
        self._beat = time.monotonic()

    @property
    def silent(self) -> float | None:
        """Seconds since the last beat; None before the first."""
        return None if self._beat is None else time.monotonic() - self._beat

    def wait(self, seconds: float) -> bool:
        """Waits, less when some part fails meanwhile; answers whether one has."""
        return self._failed.wait(seconds)

    def trouble(self, what: str, code: str | None) -> None:
        """Notes that nothing is read because of ``what`` (``code`` None: it works again)."""
        _note(self._blocking, what, code)

    def degrade(self, what: str, code: str | None) -> None:
        """Notes that ``what`` does not work and the work goes on without it."""
        _note(self._degraded, what, code)

    def circuit(self, store: str, state: Circuit) -> None:
        """Notes the state of a store's breaker."""
        self._circuits[store] = state

    @property
    def blocking(self) -> dict[str, str]:
        """What reading waits for, with the code of why."""
        return dict(self._blocking)

    @property
    def troubles(self) -> dict[str, str]:
        """What does not work at the moment, with the code of why."""
        return {**self._degraded, **self._blocking}

    @property
    def circuits(self) -> dict[str, Circuit]:
        """The state of each store's breaker, as far as it was asked."""
        return dict(self._circuits)


class Waiting:
    """What one part of the worker waits for, noted in its control: one thing at a time."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._what: str | None = None

    def on(self, error: Unavailable) -> None:
        """It waits for this now, and for nothing else."""
        if self._what != error.what:
            self.over()
        self._what = error.what
        self._control.trouble(error.what, error.code)

    def over(self) -> None:
        """It waits no more."""
        if self._what is not None:
            self._control.trouble(self._what, None)
            self._what = None


def _note(notes: dict[str, str], what: str, code: str | None) -> None:
    if code is None:
        notes.pop(what, None)
    else:
        notes[what] = code
