"""The members of a supervised group seen as one: their health, their metrics."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from flows.breaker import Circuit
from flows.health import Health
from flows.httpserver import Answer, Page
from flows.metrics import PREFIX

PATIENCE = 2.0
"""Seconds in which a member has to answer."""
SHARED = frozenset(
    PREFIX + name
    for name in (
        "graph_nodes_total", "graph_edges_total", "storage_size_bytes", "reconciliation_backlog",
        "dead_letters", "enrichment_backlog", "log_lag",
    )
)  # fmt: skip
"""What every member measures of the same stores and log: shown once, the greatest of all."""

_WORST: tuple[Circuit, ...] = ("closed", "half-open", "open")


class Group(msgspec.Struct, frozen=True):
    """What the supervisor knows of its members, by their number: those that run and have said how
    they are, restarts, and those that die again and again."""

    size: int
    health: Mapping[int, Health]
    restarts: Mapping[int, int]
    crashing: Sequence[int]
    stopping: bool = False


def merged(group: Group) -> Health:
    """The health of all. Ready is a group in which one member reads; not alive is one in which all
    die again and again."""
    found = list(group.health.values())
    circuits: dict[str, Circuit] = {}
    for health in found:
        for store, state in health.circuits.items():
            worst = max(_WORST.index(state), _WORST.index(circuits.get(store, "closed")))
            circuits[store] = _WORST[worst]
    alerts = {alert for health in found for alert in health.alerts}
    if group.crashing:
        alerts.add("crash_loop")
    assigned = [health.assigned for health in found if health.assigned is not None]
    return Health(
        pid=os.getpid(),
        time=time.time(),
        events=sum(health.events for health in found),
        rate=sum(health.rate for health in found),
        rejected_share=max((health.rejected_share for health in found), default=0.0),
        alert=any(health.alert for health in found),
        troubles=_union(health.troubles for health in found),
        status=_status(group, found),
        code="crash_loop" if len(group.crashing) == group.size else "",
        ready=not group.stopping and any(health.ready for health in found),
        assigned=sum(assigned) if assigned else None,
        silent=max((h.silent for h in found if h.silent is not None), default=None),
        blocking=_union(health.blocking for health in found),
        circuits=circuits,
        alerts=sorted(alerts),
        members={str(number): health for number, health in sorted(group.health.items())},
    )


def _status(group: Group, found: Sequence[Health]) -> str:
    if len(group.crashing) == group.size:
        return "failed"
    if group.stopping:
        return "stopping"
    return "ok" if any(health.status == "ok" for health in found) else "starting"


def _union(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {what: code for part in parts for what, code in part.items()}


def metrics_page(group: Callable[[], Group], ports: Callable[[], Mapping[int, int]]) -> Page:
    """``/metrics`` of all members, each series with its ``worker``; and of the group itself."""

    def answer(accept: str) -> Answer:
        registry = CollectorRegistry()
        registry.register(_Merged(group(), ports()))
        encode, kind = choose_encoder(accept)
        return Answer(200, kind, encode(registry))

    return answer


class _Merged(Collector):
    def __init__(self, group: Group, ports: Mapping[int, int]) -> None:
        self._group = group
        self._ports = ports

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from merge_metrics(scrape(self._ports))
        group = self._group
        yield _gauge("workers", "Members of the group.", group.size)
        yield _gauge("workers_running", "Members that say how they are.", len(group.health))
        yield _gauge("workers_crashing", "Those that die again and again.", len(group.crashing))
        restarts = Metric(f"{PREFIX}worker_restarts", "Members started again.", "counter")
        for number, count in sorted(group.restarts.items()):
            restarts.add_sample(f"{PREFIX}worker_restarts_total", {"worker": str(number)}, count)
        yield restarts


def _gauge(name: str, text: str, value: int) -> Metric:
    metric = Metric(PREFIX + name, text, "gauge")
    metric.add_sample(PREFIX + name, {}, value)
    return metric


def merge_metrics(texts: Mapping[int, str]) -> Iterator[Metric]:
    """The families of several members' pages as one page's."""
    found: dict[str, Metric] = {}
    for number, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue
            known = found.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            if family.name in SHARED:
                known.samples = _greatest([*known.samples, *family.samples])
            else:
                known.samples += [
                    sample._replace(labels={**sample.labels, "worker": str(number)})
                    for sample in family.samples
                ]
    yield from found.values()


def _greatest(samples: Iterable[Sample]) -> list[Sample]:
    best: dict[tuple[tuple[str, str], ...], Sample] = {}
    for sample in samples:
        key = tuple(sorted(sample.labels.items()))
        if key not in best or best[key].value < sample.value:
            best[key] = sample
    return list(best.values())


def scrape(ports: Mapping[int, int]) -> dict[int, str]:
    """The metrics of each member that answers in time."""
    if not ports:
        return {}
    with ThreadPoolExecutor(len(ports)) as pool:
        asked = {n: pool.submit(get, port, "/metrics") for n, port in ports.items()}
        answers = {number: future.result() for number, future in asked.items()}
    return {number: body.decode() for number, body in answers.items() if body is not None}


def ask_health(port: int) -> Health | None:
    """How a member is; None when it does not answer."""
    body = get(port, "/health")
    try:
        return None if body is None else msgspec.json.decode(body, type=Health)
    except msgspec.MsgspecError:
        return None


def get(port: int, path: str) -> bytes | None:
    """A page of a member; None when it does not answer in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
