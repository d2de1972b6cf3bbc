"""A Redis that is killed, hangs, loads, is full, refuses: what callers see, and what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.redis.cache import RedisCache
from sinks.redis.claims import RedisClaims
from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from sinks.redis.settings import RedisSettings
from tests.servers.plugin import port_of
from tests.servers.proxy import Proxy
from tests.sinks.state import claim, response, side

Connect = Callable[..., RedisServer]


@pytest.fixture
def connect() -> Iterator[Connect]:
    made: list[RedisServer] = []

    def start(url: str, **changes: Any) -> RedisServer:
        settings = {"url": url, "timeout_seconds": 5.0, **changes}
        made.append(RedisServer(RedisSettings.model_validate(settings)))
        return made[-1]

    yield start
    for each in made:
        each.close()


def claims_on(server: RedisServer) -> RedisClaims:
    return RedisClaims(server, lambda: "set")


def joins_on(server: RedisServer, **options: Any) -> RedisJoins:
    return RedisJoins(server, lambda: "set", **options)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Unavailable) as caught:
        action()
    assert caught.value.__cause__ is None
    return caught.value.code


def test_a_killed_server_is_unavailable_and_comes_back_with_all(
    own_server: Any, connect: Connect
) -> None:
    redis = own_server("redis")
    server = connect(redis.address.url)
    claims, joins = claims_on(server), joins_on(server)
    assert list(claims.claim([claim("a", 0)])) == ["new"]
    joins.add_responses([response("r", "p")])
    redis.kill()
    assert code_of(lambda: claims.claim([claim("a", 0)])) == "unreachable"
    assert code_of(lambda: claims.release([(claim("a", 0).id, claim("a", 0).origin)]))
    assert code_of(lambda: joins.add_prompts([(side("p"), 0)])) == "unreachable"
    claims.flush()
    joins.flush()
    redis.restart()
    assert list(claims.claim([claim("a", 0), claim("a", 1)])) == ["replay", "duplicate"]
    assert len(joins.add_prompts([(side("p"), 0)])["p"]) == 1


def test_connections_that_a_restart_has_closed_are_replaced_unseen(
    own_server: Any, connect: Connect
) -> None:
    redis = own_server("redis")
    claims = claims_on(connect(redis.address.url))
    with ThreadPoolExecutor(8) as pool:
        together = threading.Barrier(8)

        def one(number: int) -> object:
            together.wait()
            return claims.claim([claim(str(number), number)])

        list(pool.map(one, range(8)))
        redis.restart()
        assert [list(v) for v in pool.map(one, range(8))] == [["replay"]] * 8  # type: ignore[call-overload]


def test_a_hanging_server_costs_one_timeout(own_server: Any, connect: Connect) -> None:
    redis = own_server("redis")
    server = connect(redis.address.url, timeout_seconds=1.5)
    claims, joins = claims_on(server), joins_on(server)
    assert list(claims.claim([claim("a", 0)])) == ["new"]
    redis.pause()
    try:
        assert code_of(lambda: claims.claim([claim("b", 0)])) == "timeout"
        assert code_of(lambda: joins.add_responses([response("r", "p")])) == "timeout"
        assert code_of(lambda: joins.overdue(9, 9)) == "timeout"
    finally:
        redis.resume()
    # Whether or not the paused server did what it was asked, asking again passes.
    assert claims.claim([claim("b", 0)])[0] in ("new", "replay")
    joins.add_responses([response("r", "p")])
    assert len(joins.add_prompts([(side("p"), 0)])["p"]) == 1


def test_a_server_that_loads_its_file_is_unavailable(own_server: Any, connect: Connect) -> None:
    redis = own_server("redis", settings={"key-load-delay": "300"})
    server = connect(redis.address.url)
    claims = claims_on(server)
    claims.claim([claim(str(n), n) for n in range(5_000)])
    redis.kill()
    codes: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(redis.restart)
        while not back.done():
            try:
                claims.claim([claim("0", 0)])
            except Unavailable as error:
                codes.add(error.code)
    assert "loading" in codes
    assert codes <= {"loading", "unreachable"}
    assert list(claims.claim([claim("4999", 4999)])) == ["replay"]


def test_the_password_decides(own_server: Any, connect: Connect) -> None:
    url = own_server("redis").address.url
    admin = connect(url)
    admin.call("t", lambda client: client.config_set("requirepass", "long and secret"))
    wrong = claims_on(connect(url, password="wrong"))
    assert code_of(lambda: wrong.claim([claim("a", 0)])) == "unauthorized"
    none = claims_on(connect(url))
    assert code_of(lambda: none.claim([claim("a", 0)])) == "unauthorized"
    right = claims_on(connect(url, password="long and secret"))
    assert list(right.claim([claim("a", 0)])) == ["new"]


def test_a_full_server_is_unavailable_and_may_not_evict_what_waits(
    own_server: Any, connect: Connect
) -> None:
    redis = own_server("redis", settings={"maxmemory": "3mb", "maxmemory-policy": "noeviction"})
    server = connect(redis.address.url)
    server.check()
    assert server.size()
    claims, joins = claims_on(server), joins_on(server)
    joins.add_responses([response("r", "p")])
    batches = iter(range(1_000))

    def fill() -> None:
        for batch in batches:
            claims.claim([claim(f"{batch}/{n}", n) for n in range(500)])

    def fill_joins() -> None:
        for batch in batches:
            joins.add_responses([response(f"{batch}/{n}", "q") for n in range(500)])

    assert code_of(fill) == "out_of_memory"
    assert code_of(fill_joins) == "out_of_memory"
    server.call("t", lambda client: client.config_set("maxmemory-policy", "volatile-ttl"))
    server.check()
    claims.claim([claim(f"more/{n}", n) for n in range(500)])
    assert len(joins.add_prompts([(side("p"), 0)])["p"]) == 1
    server.call("t", lambda client: client.config_set("maxmemory-policy", "allkeys-lru"))
    with pytest.raises(UserError, match="volatile-ttl"):
        server.check()


def test_what_cannot_run_the_scripts_is_told_at_the_start(
    own_server: Any, connect: Connect
) -> None:
    cluster = own_server("redis", settings={"cluster-enabled": "yes"})
    with pytest.raises(UserError, match="cluster"):
        connect(cluster.address.url).check()
    primary = own_server("redis")
    port = port_of(primary.address.url)
    replica = connect(own_server("redis", settings={"replicaof": f"127.0.0.1 {port}"}).address.url)
    with pytest.raises(UserError, match="replica"):
        replica.check()
    assert code_of(lambda: claims_on(replica).claim([claim("a", 0)])) == "readonly"
    connect(primary.address.url).check()


def test_orphans_whose_answer_was_lost_are_answered_again(
    own_server: Any, connect: Connect, proxy: Callable[[int], Proxy]
) -> None:
    redis = own_server("redis")
    between = proxy(port_of(redis.address.url))
    joins = joins_on(connect(f"redis://{between.address}/0"))
    joins.add_responses([response(f"r{n}", "p", n) for n in range(5)])
    assert len(joins.overdue(1, 9)) == 1
    # Scripts are known by now: the next answer is cut, not the request.
    between.cut(after=20, direction="down")
    assert code_of(lambda: joins.overdue(3, 9)) == "unreachable"
    between.heal()
    # A seal now must not confirm what nobody has heard of.
    joins.confirm(joins.seal())
    joins.flush()
    found = joins.overdue(4, 9)
    assert [w.response.event.id for w in found] == ["r1", "r2", "r3"]
    joins.confirm(joins.seal())
    joins.flush()
    assert joins_on(connect(redis.address.url)).overdue(4, 9) == ()


def test_another_member_takes_over_what_one_that_died_has_not_confirmed(
    own_server: Any, connect: Connect
) -> None:
    url = own_server("redis").address.url
    dead = joins_on(connect(url), member="one", lease_seconds=0.2)
    other = joins_on(connect(url), member="two", lease_seconds=30)
    dead.add_responses([response(f"r{n}", "p", n) for n in range(4)])
    assert len(dead.overdue(2, 9)) == 2
    found = list(other.overdue(3, 9))
    while len(found) < 3:
        time.sleep(0.02)
        found += other.overdue(3, 9)
    assert sorted(w.response.event.id for w in found) == ["r0", "r1", "r2"]
    assert all(w.orphan for w in found)
    # What was taken over is not the first one's to confirm.
    dead.confirm(dead.seal())
    dead.flush()
    same = joins_on(connect(url), member="two")
    assert len(same.overdue(0, 9)) == 3


def test_cache_errors_are_misses_and_a_broken_server_is_left_alone(
    own_server: Any, connect: Connect
) -> None:
    redis = own_server("redis")
    now = [100.0]
    server = connect(redis.address.url, timeout_seconds=1.5)
    cache = RedisCache(server, "vectors", rest_seconds=5.0, clock=lambda: now[0])
    cache.put([(b"k", b"v"), (b"\x00\xff", b"\x00" * 100), (b"large", b"x" * (2 << 20))])
    assert list(cache.get([b"k", b"none", b"\x00\xff", b"large"])) == [b"v", None, bytes(100), None]
    assert (cache.hits, cache.misses) == (2, 2)
    assert list(RedisCache(server, "other").get([b"k"])) == [None]
    assert list(cache.get([])) == []
    redis.pause()
    assert list(cache.get([b"k"])) == [None]
    redis.resume()
    cache.put([(b"unseen", b"v")])
    assert list(cache.get([b"k"])) == [None]
    now[0] += 5.0
    assert list(cache.get([b"k", b"unseen"])) == [b"v", None]
    seconds = server.call("t", lambda client: client.ttl(b"memory:cache:vectors:k"))
    assert 0 < seconds <= 7 * 24 * 3_600


def test_a_closed_server_is_unavailable(redis: Any, connect: Connect) -> None:
    server = connect(redis.url)
    claims = claims_on(server)
    server.close()
    assert code_of(lambda: claims.claim([claim("a", 0)])) == "closed"
