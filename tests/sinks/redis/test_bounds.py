"""What keeps the join rows from growing, and what may not go for it."""

from __future__ import annotations

from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from tests.sinks.state import response, side


def keys(server: RedisServer) -> dict[str, int]:
    """Entries by the last part of the key."""

    def count(client: object) -> dict[str, int]:
        found: dict[str, int] = {}
        sizes = {b"hash": "hlen", b"zset": "zcard", b"set": "scard"}
        for key in client.scan_iter(match=f"{server.prefix}:*"):  # type: ignore[attr-defined]
            kind = client.type(key)  # type: ignore[attr-defined]
            name = key.decode().removeprefix(f"{server.prefix}:set:join:").split(":")[0]
            found[name] = found.get(name, 0) + getattr(client, sizes[kind])(key)
        return found

    return server.call("t", count)  # type: ignore[no-any-return]


def test_rows_are_bounded_by_count(server: RedisServer) -> None:
    joins = RedisJoins(server, lambda: "set", limit=20)
    for n in range(100):
        joins.add_prompts([(side(f"p{n}"), n)])
        joins.add_responses([response(f"r{n}", f"absent{n % 7}", n)])
    joins.add_prompts([])
    found = joins.add_responses([response(f"x{n}", f"p{n}", 200) for n in range(100)])
    known = {id_ for id_, (held, _) in found.items() if held is not None}
    assert known == {f"x{n}" for n in range(80, 100)}
    held = keys(server)
    assert held["sides"] == held["prompts"]
    assert held["responses"] == held["waiting"] == held["of"]


def test_expired_rows_leave_nothing_behind(server: RedisServer) -> None:
    joins = RedisJoins(server, lambda: "set")
    joins.add_prompts([(side(f"p{n}"), n) for n in range(50)])
    joins.add_responses([response(f"r{n}", f"q{n}", n) for n in range(50)])
    assert len(joins.overdue(25, 100)) == 25
    joins.confirm(joins.seal())
    joins.flush()
    joins.expire(1_000)
    joins.overdue(0, 1)
    assert keys(server) == {"runs": 1}


def test_an_orphan_that_is_not_confirmed_does_not_expire(server: RedisServer) -> None:
    """A backlog is read in minutes: what is due and what is expired may lie in one epoch."""
    joins = RedisJoins(server, lambda: "set", member="one")
    joins.add_responses([response(f"r{n}", "p", n) for n in range(4)])
    assert len(joins.overdue(2, 10)) == 2
    joins.expire(1_000)
    joins.overdue(0, 1)
    again = RedisJoins(server, lambda: "set", member="one")
    assert [w.response.event.id for w in again.overdue(0, 10)] == ["r0", "r1"]
    again.confirm(again.seal())
    again.flush()
    again.expire(1_000)
    assert again.overdue(0, 10) == ()
    # The next run of the member forgets those before it.
    assert keys(server) == {"runs": 2}
    RedisJoins(server, lambda: "set", member="one").overdue(0, 10)
    assert keys(server) == {}
