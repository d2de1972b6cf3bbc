"""The dead-letter queue: what can never pass, sealed, with what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from schemas.failures import Rejected
from schemas.log import Origin, Original
from schemas.queues import DeadLetter, Refused
from schemas.records import Store
from sinks.common import letter_table as table
from sinks.common.letters import associated, entry, payload
from sinks.seal import Seal
from sinks.sqlite.database import Database

PART = "dead_letters"


class SqliteDeadLetters:
    """:class:`schemas.queues.DeadLetters`, keyed by coordinates and, for a refused record, store.

    Putting a letter again keeps its sequence, payload and retries, takes the new code and opens
    it again if it was resolved; a refused record of a greater version replaces the older one as a
    new letter. ``key`` has 32 bytes.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._seal = Seal(key)

    def put(self, letters: Sequence[Rejected | Refused], /) -> None:
        """See :meth:`schemas.queues.DeadLetters.put`."""
        self.submit(letters).result()

    def submit(self, letters: Sequence[Rejected | Refused], /) -> Future[None]:
        """As :meth:`put`, without waiting."""
        rows = []
        for letter in letters:
            kept = entry(letter)
            plain = kept.plain
            sealed = None if plain is None else self._seal.seal(plain, kept.associated)
            rows.append(table.row(kept, sealed))
        return self._database.submit(PART, lambda connection: table.put(connection, rows))

    def list(
        self,
        *,
        code: str | None = None,
        stage: str | None = None,
        topic: str | None = None,
        resolved: bool | None = False,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[DeadLetter]:
        """Up to ``limit`` letters behind sequence ``after`` that meet every filter given, in order.
        ``resolved`` None: open and resolved ones."""
        filters = {"code": code, "stage": stage, "topic": topic}
        return self._database.read(
            PART, lambda connection: table.select(connection, filters, resolved, after, limit)
        )

    def get(self, sequence: int, /) -> DeadLetter | None:
        """The letter of this sequence."""
        return self._database.read(PART, lambda connection: table.get(connection, sequence))

    def find(self, origin: Origin, store: Store | None = None, /) -> DeadLetter | None:
        """The letter of these coordinates (the log timestamp does not count)."""
        return self._database.read(
            PART, lambda connection: table.find(connection, origin, store or "")
        )

    def open(self, sequence: int, /) -> Original | Refused | None:
        """What is sealed in it: the bytes as they came, or the refused record; None where there is
        no such letter or it came without an original. Raises :class:`sinks.seal.Tampered`."""
        letter, sealed = self._database.read(
            PART, lambda c: (table.get(c, sequence), table.sealed(c, sequence))
        )
        if letter is None or sealed is None:
            return None
        bound = associated(letter.kind, letter.origin, letter.store or "")
        return payload(letter, self._seal.open(sealed, bound))

    def retried(self, sequence: int, code: str, /) -> None:
        """Counts a retry that was rejected again, with its code."""
        self._note(sequence, code, resolution=False)

    def resolve(self, sequence: int, outcome: str, /) -> None:
        """Closes a letter (``written``, ``duplicate``, ``discarded``, …)."""
        self._note(sequence, outcome, resolution=True)

    def outcomes(self, sequence: int, /) -> Sequence[tuple[bool, str]]:
        """What became of it, oldest first: (is a resolution, code or outcome)."""
        return self._database.read(PART, lambda connection: table.outcomes(connection, sequence))

    def counts(self, *, resolved: bool = False) -> Mapping[str, int]:
        """How many letters are open (or resolved), by code."""
        return self._database.read(PART, lambda connection: table.counts(connection, resolved))

    def count(self, *, resolved: bool = False) -> int:
        """How many letters are open (or resolved)."""
        return sum(self.counts(resolved=resolved).values())

    def at_most(self) -> int:
        """How many letters are open."""
        return self.count()

    def _note(self, sequence: int, outcome: str, *, resolution: bool) -> None:
        self._database.run(
            PART,
            lambda connection: table.note(connection, sequence, outcome, resolution=resolution),
        )
