"""The supervisor: what dies is started again, all are seen as one, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.health import Health, read_health
from flows.ingest import STAGES
from flows.journal import Journal, SharedSuspects
from flows.lock import holder_of
from flows.member import Member, Supervision, member_folder, suspects_file
from flows.members import Group, merge_metrics, merged
from flows.settings import Settings, load_settings
from flows.supervisor import LATE, Supervisor, check_settings, supervise
from schemas.failures import UserError
from schemas.log import Partition
from tests.awaiting import until
from tests.flows.cli.conftest import command
from tests.flows.test_health import get
from tests.flows.test_worker import ROOT

FAST = Supervision(backoff=(0.0,), every=0.05)
P0 = Partition("llm.prompts.v1", 0)


def member(data: Path) -> Callable[[int], list[str]]:
    return lambda number: [sys.executable, "-m", "tests.flows.member", str(number), str(data)]


def run(
    data: Path,
    size: int,
    then: Callable[[Supervisor, int], None],
    *,
    plans: Mapping[int, str] | None = None,
    rules: Supervision = FAST,
    stop_seconds: float = 10.0,
) -> int:
    """Supervises until ``then`` (in another thread) is done; answers the exit code."""
    for number, plan in (plans or {}).items():
        (data / f"plan-{number}").write_text(plan)
    errors: list[BaseException] = []
    threads: list[threading.Thread] = []

    def started(supervisor: Supervisor, port: int | None) -> None:
        assert port

        def drive() -> None:
            try:
                then(supervisor, port)
            except BaseException as error:
                errors.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

        threads.append(threading.Thread(target=drive))
        threads[0].start()

    settings = load_settings(data=data, metrics_port=0)
    worker = settings.worker.model_copy(update={"stop_seconds": stop_seconds})
    settings = settings.model_copy(update={"worker": worker})
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: None)  # One that comes late, when all have ended.
    try:
        code = supervise(settings, size, member(data), rules=rules, started=started)
        threads[0].join()
    finally:
        signal.signal(signal.SIGTERM, before)
    if errors:
        raise errors[0]
    children = [c for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE]
    assert not [c for c in children if "tests.flows.member" in c.cmdline()]
    return code


def running(supervisor: Supervisor, size: int) -> bool:
    return len(supervisor.group().health) == size


def test_members_are_started_seen_as_one_and_stopped(tmp_path: Path) -> None:
    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 3))
        status, _, body = get(port, "/health")
        health = json.loads(body)
        assert (status, health["status"], health["assigned"]) == (200, "ok", 1 + 2 + 3)
        assert set(health["members"]) == {"1", "2", "3"}
        assert get(port, "/ready")[0] == 200
        text = get(port, "/metrics")[2].decode()
        for number in (1, 2, 3):
            assert f'claims_failed_open_total{{worker="{number}"}} {number}.0' in text
        assert 'llm_memory_graph_reconciliation_backlog{store="graph"} 30.0' in text
        assert "llm_memory_graph_workers_running 3.0" in text
        assert holder_of(tmp_path) == os.getpid()
        until(lambda: (h := read_health(tmp_path)) is not None and len(h.members) == 3)

    assert run(tmp_path, 3, then) == 0


def test_what_dies_is_started_again_and_the_others_go_on(tmp_path: Path) -> None:
    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 2))
        first, second = (m.process for m in supervisor.members)
        assert first is not None
        first.kill()
        until(lambda: supervisor.members[0].restarts == 1)
        until(lambda: running(supervisor, 2))
        again = supervisor.members[0].process
        assert again is not None
        assert again.pid != first.pid
        assert supervisor.members[1].process is second
        text = get(port, "/metrics")[2].decode()
        assert 'worker_restarts_total{worker="1"} 1.0' in text

    assert run(tmp_path, 2, then) == 0


def test_a_hung_event_is_no_reason_to_wait_and_others_are(tmp_path: Path) -> None:
    patient = Supervision(backoff=(3_600.0,), every=0.05)

    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 1))
        assert supervisor.members[0].restarts == 2
        until(lambda: supervisor.members[1].restarts == 1)
        assert supervisor.members[1].process is None

    plans = {1: "exit 75\nexit 75\nrun", 2: "exit 1"}
    assert run(tmp_path, 2, then, plans=plans, rules=patient) == LATE


def test_a_crash_loop_is_an_alert_and_alone_no_reason_for_a_restart_of_all(tmp_path: Path) -> None:
    rules = Supervision(backoff=(0.0,), deaths=3, every=0.05)

    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 1) and supervisor.members[1].crashing)
        status, _, body = get(port, "/health")
        health = json.loads(body)
        assert (status, health["alerts"]) == (200, ["crash_loop"])

    run(tmp_path, 2, then, plans={2: "exit 1"}, rules=rules)


@pytest.mark.parametrize("code", [2, 3, 5])
def test_what_a_restart_would_only_repeat_ends_all(tmp_path: Path, code: int) -> None:
    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: all(m.process is None and m.done for m in supervisor.members))

    assert run(tmp_path, 2, then, plans={2: f"exit {code}"}) == code


def test_a_member_that_does_not_stop_is_killed_at_the_deadline(tmp_path: Path) -> None:
    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 2))

    assert run(tmp_path, 2, then, plans={1: "deaf"}, stop_seconds=0.1) == LATE


def test_a_member_that_is_stuck_is_killed_and_started_again(tmp_path: Path) -> None:
    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: supervisor.members[0].restarts == 1)
        until(lambda: (h := supervisor.members[0].health) is not None and h.status == "ok")

    assert run(tmp_path, 1, then, plans={1: "stuck\nrun"}) == 0


def test_a_member_that_hangs_before_it_says_anything_is_killed(tmp_path: Path) -> None:
    found = Member(1, tmp_path, lambda _: ["sleep", "60"], Supervision(silence=0.0))
    found.start()
    found.ask()
    until(lambda: found.ended() is not None)
    assert found.code == -signal.SIGKILL


def test_an_answer_that_comes_late_is_not_taken_for_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one died while it was asked; the new one must not be killed for it."""
    stuck = Health(
        pid=1, time=0.0, events=0, rate=0.0, rejected_share=0.0, alert=False, troubles={},
        status="stuck",
    )  # fmt: skip
    found = Member(1, tmp_path, lambda _: ["sleep", "60"], Supervision())
    found.start()

    def ask(_port: int) -> Health:
        found.send(signal.SIGKILL)
        until(lambda: found.ended() is not None)
        found.start()
        return stuck

    monkeypatch.setattr("flows.member.ask_health", ask)
    monkeypatch.setattr(Member, "port", property(lambda _: 1))
    found.ask()
    try:
        assert found.health is None
        assert found.process is not None
        assert found.process.poll() is None
    finally:
        found.send(signal.SIGKILL)
        until(lambda: found.ended() is not None)


def test_a_member_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    """No process or no room on the disk at this moment is no reason to end all others."""
    started: list[int] = []

    def command_of(number: int) -> list[str]:
        started.append(number)
        good = number == 1 or started.count(2) > 2
        return member(tmp_path)(number) if good else [str(tmp_path / "not there")]

    rules = Supervision(backoff=(0.0,), every=0.05)
    settings = load_settings(data=tmp_path, metrics_port=0)
    supervisor = Supervisor(settings, 2, command_of, rules)
    ended = threading.Thread(target=supervisor.run)
    ended.start()
    try:
        until(lambda: running(supervisor, 2))
        assert [m.restarts for m in supervisor.members] == [0, 2]
    finally:
        supervisor.stop()
        ended.join()


def test_what_fails_while_members_are_asked_does_not_end_the_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would see that a member is stuck."""
    asked: list[int] = []
    ask = Member.ask

    def failing(self: Member) -> None:
        asked.append(self.number)
        if len(asked) == 1:
            raise PermissionError
        ask(self)

    monkeypatch.setattr(Member, "ask", failing)

    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 1))

    assert run(tmp_path, 1, then) == 0


def test_members_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from flows.settings import load_settings;"
        "from flows.supervisor import supervise; from tests.flows.test_supervisor import member;"
        "data = Path(sys.argv[1]); supervise(load_settings(data=data), 2, member(data))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    folders = [member_folder(tmp_path, number) for number in (1, 2)]
    until(lambda: all(read_health(folder) for folder in folders))
    pids = [health.pid for folder in folders if (health := read_health(folder))]
    parent.kill()
    parent.wait()
    until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_deaths_are_counted_over_all_members(tmp_path: Path) -> None:
    """The event goes from member to member; two deaths narrow it down, two more isolate it."""
    order = [(1, (3, 5)), (2, (3, 5)), (3, (4, 4)), (1, (4, 4))]
    shared = SharedSuspects(suspects_file(tmp_path))
    for number, at in order:
        folder = member_folder(tmp_path, number)
        folder.mkdir(exist_ok=True)
        journal = Journal(folder / "inflight", STAGES, suspects_file(tmp_path))
        journal.enter(3, P0, *at)
        shared.count(folder / "inflight", STAGES)
    follower = Journal(member_folder(tmp_path, 2) / "inflight", STAGES, suspects_file(tmp_path))
    assert dict(follower.isolated) == {("llm.prompts.v1", 0, 4): "pii"}
    assert set(follower.careful[P0]) == {(3, 5), (4, 4)}


def test_a_running_member_follows_what_a_death_elsewhere_has_shown(tmp_path: Path) -> None:
    running_member = Journal(tmp_path / "inflight", STAGES, suspects_file(tmp_path))
    careful, isolated = running_member.careful, running_member.isolated
    assert not careful

    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 2))

    assert run(tmp_path, 2, then, plans={1: "die\nrun", 2: "die\nrun"}) == 0
    until(lambda: careful.get(P0) == ((3, 5),))
    assert not isolated


def test_the_supervisor_counts_a_death_once(tmp_path: Path) -> None:
    def then(supervisor: Supervisor, port: int) -> None:
        until(lambda: running(supervisor, 1))

    assert run(tmp_path, 1, then, plans={1: "die\nexit 1\nexit 1\nrun"}) == 0
    (suspect,) = SharedSuspects(suspects_file(tmp_path)).current()
    assert (suspect.first, suspect.last, suspect.deaths) == (3, 5, 1)


def test_the_health_of_a_group_is_the_worst_of_its_members_and_ready_the_best() -> None:
    common: dict[str, Any] = {"time": 0.0, "rate": 1.0, "alert": False, "rejected_share": 0.0}
    good = Health(pid=1, events=5, troubles={}, ready=True, assigned=2,
                  circuits={"graph": "closed"}, **common)  # fmt: skip
    bad = Health(pid=2, events=7, troubles={"graph": "refused"}, ready=False, assigned=3,
                 circuits={"graph": "open"}, alerts=["store_down"], **common)  # fmt: skip
    group = Group(size=3, health={1: good, 2: bad}, restarts={}, crashing=[3])
    health = merged(group)
    assert (health.events, health.rate, health.assigned) == (12, 2.0, 5)
    assert (health.ready, health.alive) == (True, True)
    assert health.circuits == {"graph": "open"}
    assert health.alerts == ["crash_loop", "store_down"]
    assert health.troubles == {"graph": "refused"}
    lost = merged(Group(size=1, health={}, restarts={}, crashing=[1]))
    assert (lost.status, lost.code, lost.alive, lost.ready) == (
        "failed",
        "crash_loop",
        False,
        False,
    )


def test_histograms_and_counters_keep_each_members_series() -> None:
    text = (
        "# HELP x_seconds t\n# TYPE x_seconds histogram\n"
        'x_seconds_bucket{le="1.0"} %d\nx_seconds_bucket{le="+Inf"} %d\n'
        "x_seconds_count %d\nx_seconds_sum 1.5\n"
    )
    (family,) = merge_metrics({1: text % (1, 2, 2), 2: text % (3, 4, 4)})
    buckets = {
        (s.labels["worker"], s.labels["le"]): s.value
        for s in family.samples
        if s.name.endswith("_bucket")
    }
    assert buckets == {("1", "1.0"): 1, ("1", "+Inf"): 2, ("2", "1.0"): 3, ("2", "+Inf"): 4}


def with_backends(**chosen: str) -> Settings:
    settings = load_settings()
    return settings.model_copy(update={"backends": settings.backends.model_copy(update=chosen)})


def test_several_workers_need_servers_for_everything() -> None:
    servers = {
        "log": "kafka", "graph": "neo4j", "vector": "pinecone", "timeseries": "influxdb",
        "search": "elasticsearch", "state": "redis", "queues": "kafka",
    }  # fmt: skip
    check_settings(with_backends(**servers))
    with pytest.raises(UserError, match="one worker reads the log"):
        check_settings(load_settings())
    with pytest.raises(UserError, match="a server for graph, state "):
        check_settings(with_backends(**{**servers, "graph": "sqlite", "state": "sqlite"}))


def test_the_command_refuses_several_workers_on_a_data_folder(tmp_path: Path) -> None:
    done = command("run", "--workers", "2", "--data", tmp_path)
    assert done.returncode == 2
    assert "[backends]" in done.stderr
