"""What the parts of one running worker tell each other: stop, failure, health, cost of the work."""

from __future__ import annotations

import threading

from bytewax.inputs import AbortExecution


class Control:
    """Shared by the source, the stages' guards and the barriers of one worker.

    A part that cannot go on calls :meth:`fail`; the source then ends the dataflow before it commits
    anything more, so what is in flight is read again by the next start.

    ``spent``: seconds in stages since the source last asked. ``emitted``: items that came of an
    empty chunk. ``dirty``: something that a stage had written was lost; read again from what is
    committed.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._stop = threading.Event()
        self._failed = threading.Event()
        self._quiet = quiet
        self._troubles: dict[str, str] = {}
        self.failure: BaseException | None = None
        self.spent = 0.0
        self.emitted = 0
        self.dirty = False

    def stop(self) -> None:
        """Asks the source to read no more and to commit what was read. Safe in a handler."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def fail(self, error: BaseException) -> None:
        """Ends the dataflow without a further commit. The first error wins."""
        if self.failure is None:
            self.failure = error
        self._failed.set()

    @property
    def failed(self) -> bool:
        return self._failed.is_set()

    def check(self) -> None:
        """Raises when some part has failed. Quiet: the owner asks for the failure itself."""
        if not self._failed.is_set():
            return
        if self._quiet or self.failure is None:
            raise AbortExecution
        raise self.failure

    def wait(self, seconds: float) -> bool:
        """Waits, less when some part fails meanwhile; answers whether one has."""
        return self._failed.wait(seconds)

    def trouble(self, what: str, code: str | None) -> None:
        """Notes that something does not work now (``code`` None: it works again)."""
        if code is None:
            self._troubles.pop(what, None)
        else:
            self._troubles[what] = code

    @property
    def troubles(self) -> dict[str, str]:
        """What does not work at the moment, with the code of why."""
        return dict(self._troubles)
