"""Health, readiness and metrics over HTTP: what a probe or a scraper is told, and when."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import flows.health
from flows import worker
from flows.claims import CountedClaims
from flows.control import Control
from flows.filelog import append_events
from flows.health import assess, health_pages, read_health, serve_pages
from flows.httpserver import CONNECTIONS, Answer, Pages
from flows.metrics import Metrics
from flows.settings import load_settings
from flows.stats import RunStats, RunSummary
from schemas.failures import UserError
from schemas.log import Origin
from schemas.ports import Claim, Damaged, Unavailable, Verdict
from schemas.records import RecordId
from tests.awaiting import until
from tests.flows import tiny

ROOT = Path(__file__).parents[2]

NOTHING = RunSummary()


def running() -> Control:
    control = Control()
    control.assigned = 3
    control.beat()
    return control


def get(port: int, path: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def test_a_worker_that_reads_is_alive_and_ready() -> None:
    health = assess(running(), NOTHING)
    assert (health.status, health.alive, health.ready, health.alerts) == ("ok", True, True, [])


def test_before_it_has_partitions_it_is_alive_and_not_ready() -> None:
    control = Control()
    assert assess(control, NOTHING).status == "starting"
    control.beat()
    health = assess(control, NOTHING)
    assert (health.status, health.alive, health.ready) == ("ok", True, False)
    control.assigned = 0
    assert assess(control, NOTHING).ready


def test_a_store_that_is_down_is_shown_and_no_reason_for_a_restart() -> None:
    control = running()
    control.degrade("graph", "refused")
    control.circuit("graph", "open")
    health = assess(control, NOTHING)
    assert (health.alive, health.ready) == (True, True)
    assert health.troubles == {"graph": "refused"}
    assert health.circuits == {"graph": "open"}
    assert health.alerts == ["store_down"]


def test_a_worker_that_stopped_reading_is_alive_and_not_ready_until_it_goes_on() -> None:
    control = running()
    control.trouble("dead_letters", "refused")
    health = assess(control, NOTHING)
    assert (health.alive, health.ready, health.alerts) == (True, False, ["stopped_reading"])
    control.trouble("dead_letters", None)
    assert assess(control, NOTHING).ready


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Unavailable("graph", "refused"), "refused"),
        (Damaged("x"), "damaged"),
        (UserError("secret"), "user_error"),
        (ValueError("secret"), "internal_error"),
    ],
)
def test_a_failed_worker_wants_a_restart_and_says_why_in_a_code(
    failure: BaseException, code: str
) -> None:
    control = running()
    control.fail(failure)
    health = assess(control, NOTHING)
    assert (health.status, health.code, health.alive, health.ready) == (
        "failed",
        code,
        False,
        False,
    )
    assert "secret" not in repr(health)


def test_a_main_loop_without_a_turn_for_too_long_is_stuck() -> None:
    health = assess(running(), NOTHING, limit=-1)
    assert (health.status, health.alive, health.ready) == ("stuck", False, False)


def test_a_stopping_worker_is_alive_and_not_ready() -> None:
    control = running()
    control.stop()
    health = assess(control, NOTHING)
    assert (health.status, health.alive, health.ready) == ("stopping", True, False)


def test_a_barrier_that_waits_for_what_is_known_to_be_down_is_a_turn_of_the_loop() -> None:
    from flows.barrier import BarrierPart

    class Stuck:
        name = "stuck"

        def __call__(self, item: object) -> None:
            assert free.wait(60)

    for known in (True, False):
        free, control, done = threading.Event(), Control(), threading.Event()
        if known:
            control.trouble("graph", "refused")
        part: BarrierPart[int] = BarrierPart(Stuck(), control, 1, 1)
        part.write_batch([1])

        def wait(part: BarrierPart[int] = part, done: threading.Event = done) -> None:
            part.snapshot()
            done.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        if known:
            until(lambda: control.silent is not None)  # noqa: B023
        assert not done.wait(0.5)
        assert (control.silent is not None) is known
        free.set()
        waiting.join()
        part.close()


def test_the_pages_of_a_worker(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, metrics_port=0)
    append_events(tiny.lines(5), settings.log_dir)
    with worker.prepared(settings, build=tiny.build) as prepared:
        port = prepared.metrics_port
        assert port
        prepared.control.beat()
        status, kind, body = get(port, "/health")
        assert (status, kind) == (200, "application/json")
        assert json.loads(body)["assigned"] == 12 + 12 + 4
        assert get(port, "/ready")[0] == 200
        prepared.control.trouble("database", "full")
        assert get(port, "/health")[0] == 200
        status, _, body = get(port, "/ready")
        assert (status, json.loads(body)["blocking"]) == (503, {"database": "full"})
        text = get(port, "/metrics")[2].decode()
        assert 'llm_memory_graph_trouble{code="full",what="database"} 1.0' in text
        assert "llm_memory_graph_ready 0.0" in text
        assert 'llm_memory_graph_breaker_state{state="closed",store="graph"} 1.0' in text
        prepared.control.trouble("database", None)
        assert "llm_memory_graph_trouble{" not in get(port, "/metrics")[2].decode()
        prepared.control.fail(Unavailable("database", "lost_write"))
        status, _, body = get(port, "/health")
        assert (status, json.loads(body)["code"]) == (503, "lost_write")
        assert get(port, "/secret")[0] == 404
    left = read_health(tmp_path)
    assert left is not None
    assert left.status == "failed"


def test_a_metric_page_follows_the_health_of_the_moment() -> None:
    control, stats, metrics = running(), RunStats(), Metrics(("validate",))
    page = metrics.page(lambda: assess(control, stats.summary()))

    def text(accept: str = "") -> str:
        return page(accept).body.decode()

    stats.screened_out([])
    control.circuit("search", "half-open")
    assert 'breaker_state{state="half-open",store="search"} 1.0' in text()
    assert 'breaker_state{state="closed",store="search"} 0.0' in text()
    assert "llm_memory_graph_alive 1.0" in text()
    control.fail(ValueError())
    assert "llm_memory_graph_alive 0.0" in text()
    openmetrics = "application/openmetrics-text; version=1.0.0"
    assert page(openmetrics).type.startswith("application/openmetrics-text")


def pages() -> Pages:
    control = running()

    def metrics(_accept: str) -> Answer:
        return Answer(200, "text/plain", b"x 1\n")

    return Pages("127.0.0.1", 0, health_pages(lambda: assess(control, NOTHING), metrics))


def test_clients_that_hang_or_keep_their_connection_hold_nobody_up() -> None:
    server = pages()
    silent = socket.create_connection(("127.0.0.1", server.port))
    half = socket.create_connection(("127.0.0.1", server.port))
    half.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
    kept = http.client.HTTPConnection("127.0.0.1", server.port)
    kept.request("GET", "/health", headers={"Connection": "keep-alive"})
    assert kept.getresponse().status == 200
    assert get(server.port, "/metrics")[2] == b"x 1\n"
    done = threading.Event()
    threading.Thread(target=lambda: (server.close(), done.set()), daemon=True).start()
    assert done.wait(5)
    for client in (silent, half, kept):
        client.close()


def test_more_clients_than_there_is_room_for_are_turned_away() -> None:
    server = pages()
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CONNECTIONS)]
    turned_away = socket.create_connection(("127.0.0.1", server.port))
    turned_away.settimeout(30)
    assert turned_away.recv(1) == b""
    for client in clients:
        client.close()
    server.close()


def test_requests_that_got_no_thread_leave_their_room_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that is short of threads for a moment must not cost the probes for good."""
    server = pages()

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", start)
        for _ in range(CONNECTIONS + 1):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as turned_away:
                assert turned_away.recv(1) == b""
    assert get(server.port, "/health")[0] == 200
    server.close()


def test_an_address_in_use_is_named() -> None:
    server = pages()
    with pytest.raises(UserError, match="--metrics-port"):
        Pages("127.0.0.1", server.port, {})
    server.close()


def test_with_the_log_in_kafka_health_is_served_by_default_where_the_port_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded = load_settings()
    backends = embedded.backends.model_copy(update={"log": "kafka"})
    kafka = embedded.model_copy(update={"backends": backends})
    monkeypatch.setattr(flows.health, "PORT", 0)
    assert serve_pages(embedded, {}) is None
    server = serve_pages(kafka, {"/health": lambda _: Answer(200, "text/plain", b"fine")})
    assert server is not None
    assert get(server.port, "/health")[2] == b"fine"
    monkeypatch.setattr(flows.health, "PORT", server.port)
    assert serve_pages(kafka, {}) is None
    chosen = kafka.metrics.model_copy(update={"port": server.port})
    with pytest.raises(UserError, match="in use"):
        serve_pages(kafka.model_copy(update={"metrics": chosen}), {})
    server.close()


def test_the_lines_of_a_member_name_it() -> None:
    code = "from flows.logs import configure; import structlog; configure(worker=3);"
    code += "structlog.get_logger('x').warning('parked', store='graph')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    line = json.loads(done.stderr)
    assert (line["worker"], line["event"], line["store"]) == (3, "parked", "graph")


def test_claims_that_fail_open_and_events_read_again_are_counted() -> None:
    answers: list[Any] = [["new", "replay"], Unavailable("claims", "refused"), ["replay"]]

    class Scripted:
        def claim(self, claims: Sequence[Claim]) -> Sequence[Verdict]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

    control, metrics = Control(), Metrics(())
    claims = CountedClaims(Scripted(), control, metrics)  # type: ignore[arg-type]
    asked = [Claim(RecordId("prompt", "x"), Origin("llm.prompts.v1", 0, n, 0), b"") for n in (1, 2)]
    assert claims.claim(asked) == ["new", "replay"]
    with pytest.raises(Unavailable):
        claims.claim(asked)
    assert (control.troubles, control.blocking) == ({"claims": "refused"}, {})
    assert claims.claim(asked[:1]) == ["replay"]
    assert control.troubles == {}
    text = metrics.page(lambda: assess(control, NOTHING))("").body.decode()
    assert "llm_memory_graph_claims_failed_open_total 2.0" in text
    assert 'llm_memory_graph_events_redelivered_total{topic="llm.prompts.v1"} 2.0' in text
