"""What one run did: counted as it happens, told as a summary."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from flows.window import RejectedWindow
from schemas.chunk import Outcome
from schemas.failures import Rejected
from schemas.items import Embedded, Enriched, ScreenedResponse
from schemas.records import STORES, Store

REMEMBERED_ORPHANS = 100_000
MOST_USAGES = 10_000
UNKNOWN = "_"
OTHERS = ("(others)", "(others)")
"""Tenant and model of what comes when :data:`MOST_USAGES` pairs are kept: events name models."""


class Usage(msgspec.Struct, frozen=True):
    """Billed tokens and cost of the responses of one tenant and model. ``unpriced`` responses have
    tokens but no price; they are no part of ``pico_usd`` (10⁻¹² USD)."""

    tenant: str
    model: str
    responses: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    pico_usd: int = 0
    unpriced: int = 0


class RunSummary(msgspec.Struct, frozen=True):
    """What a run has done so far. Counts are of this run, also of events it read again.

    ``topics``: events by topic; ``rejected``: by (stage, code); ``findings``: by (entity, action);
    ``written``: by store and status (written, erased, rejected, parked); ``lag``: records of the
    log not yet committed, None when it was not measured; ``alert``: more than the configured share
    of the last events was rejected; ``troubles``: what does not work now, with its code.
    """

    seconds: float = 0.0
    events: int = 0
    topics: dict[str, int] = {}
    duplicates: int = 0
    rejected: dict[tuple[str, str], int] = {}
    findings: dict[tuple[str, str], int] = {}
    written: dict[Store, dict[str, int]] = {}
    usage: list[Usage] = []
    orphans: int = 0
    lag: int | None = None
    alert: bool = False
    rejected_share: float = 0.0
    troubles: dict[str, str] = {}
    stopped: bool = False

    @property
    def rate(self) -> float:
        """Events a second over the whole run."""
        return self.events / self.seconds if self.seconds else 0.0


class RunStats:
    """Counts for one run. Called from the stages' thread and from the writers' threads."""

    def __init__(self, window: int = 1_000, share: float = 0.01) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._topics: Counter[str] = Counter()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._findings: Counter[tuple[str, str]] = Counter()
        self._written: dict[Store, Counter[str]] = {store: Counter() for store in STORES}
        self._usage: dict[tuple[str, str], list[int]] = {}
        self._orphans: OrderedDict[str, tuple[tuple[str, str], list[int]]] = OrderedDict()
        self._duplicates = 0
        self._orphan_count = 0
        self._window = RejectedWindow(window, share)

    def stage(self, name: str, taken: int, outcome: Outcome[Any], seconds: float) -> None:  # noqa: ARG002
        """One chunk went through a stage."""
        with self._lock:
            if name == "validate":
                self._topics[outcome.passed.partition.topic] += taken
                self._window.arrived(taken)
            self._duplicates += outcome.duplicates
            if outcome.rejected:
                self._rejected.update((r.stage, r.code) for r in outcome.rejected)
                self._window.rejected(len(outcome.rejected))
            if name == "pii":
                self._count_findings(outcome.passed.items)
            elif name == "lookup":
                self._count_usage(outcome.passed.items)

    def screened_out(self, rejected: Sequence[Rejected]) -> None:
        """Events that were not run at all, because they kill the process."""
        with self._lock:
            self._rejected.update((r.stage, r.code) for r in rejected)
            self._topics.update(r.origin.topic for r in rejected)
            self._window.arrived(len(rejected))
            self._window.rejected(len(rejected))

    def written(self, store: Store, status: str, count: int) -> None:
        with self._lock:
            self._written[store][status] += count

    def write_took(self, store: Store, seconds: float) -> None:
        """Timings are for the metrics alone."""

    def dead(self, rejected: Sequence[Rejected]) -> None:
        """Rejections are counted where they happen."""

    def summary(
        self, *, lag: int | None = None, troubles: dict[str, str] | None = None,
        stopped: bool = False,
    ) -> RunSummary:  # fmt: skip
        """What was counted so far."""
        with self._lock:
            return RunSummary(
                seconds=time.monotonic() - self._started,
                events=sum(self._topics.values()),
                topics=dict(self._topics),
                duplicates=self._duplicates,
                rejected=dict(self._rejected),
                findings=dict(self._findings),
                written={store: dict(counts) for store, counts in self._written.items()},
                usage=[Usage(*k, *v) for k, v in sorted(self._usage.items()) if v[0]],
                orphans=self._orphan_count,
                lag=lag,
                alert=self._window.alert,
                rejected_share=self._window.share,
                troubles=troubles or {},
                stopped=stopped,
            )

    def _count_findings(self, items: Sequence[Embedded]) -> None:
        for item in items:
            for finding in item.event.findings:
                self._findings[finding.entity, finding.action] += finding.count

    def _count_usage(self, items: Sequence[Enriched]) -> None:
        for item in items:
            event = item.event
            if not isinstance(event, ScreenedResponse) or item.state == "waiting":
                continue
            counted = self._orphans.pop(event.id, None)
            if counted is not None:
                self._add(counted[0], [-n for n in counted[1]])
                self._orphan_count -= 1
            key = (item.user.tenant or UNKNOWN, item.model.id if item.model else UNKNOWN)
            if key not in self._usage and len(self._usage) >= MOST_USAGES:
                key = OTHERS
            usage, cost = event.usage, item.cost
            values = [
                1,
                usage.prompt_tokens if usage else 0,
                usage.completion_tokens if usage else 0,
                cost.pico_usd or 0,
                int(cost.status in ("unpriced", "inconsistent")),
            ]
            self._add(key, values)
            if item.state == "orphan":
                self._orphan_count += 1
                self._orphans[event.id] = (key, values)
                if len(self._orphans) > REMEMBERED_ORPHANS:
                    self._orphans.popitem(last=False)

    def _add(self, key: tuple[str, str], values: list[int]) -> None:
        total = self._usage.setdefault(key, [0] * len(values))
        for index, value in enumerate(values):
            total[index] += value
