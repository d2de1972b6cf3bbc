"""The rule of claims, in every store that keeps them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas.log import Origin
from schemas.ports import Claim, Claims, Verdict
from schemas.records import RecordId
from tests.sinks.state import TOPIC, claim

Open = Callable[[], Claims]


def test_the_four_verdicts(open_claims: Open) -> None:
    claims = open_claims()
    batch = [claim("a", 0), claim("a", 1), claim("a", 2, content=b"other"), claim("a", 0)]
    assert list(claims.claim(batch)) == ["new", "duplicate", "conflict", "replay"]
    assert list(claims.claim(batch)) == ["replay", "duplicate", "conflict", "replay"]


def test_a_batch_may_be_empty_or_large(open_claims: Open) -> None:
    claims = open_claims()
    assert list(claims.claim([])) == []
    batch = [claim(str(n), n) for n in range(2_500)]
    assert set(claims.claim(batch)) == {"new"}
    assert set(claims.claim(batch)) == {"replay"}
    claims.release([(one.id, one.origin) for one in batch])
    assert set(claims.claim([claim(str(n), n + 9_000) for n in range(2_500)])) == {"new"}


def test_kinds_and_topics_are_namespaces_of_their_own(open_claims: Open) -> None:
    claims = open_claims()
    other_kind = Claim(RecordId("response", "a"), Origin(TOPIC, 0, 1, 0), b"same")
    assert list(claims.claim([claim("a", 0), other_kind, claim("a", 2, topic="t")])) == ["new"] * 3


@pytest.mark.parametrize(("time", "verdict"), [(100, "duplicate"), (101, "new"), (-101, "new")])
def test_the_ttl_counts_in_log_time_both_ways(
    open_claims: Open, time: int, verdict: Verdict
) -> None:
    claims = open_claims()
    claims.claim([claim("a", 0)])
    assert list(claims.claim([claim("a", 1, time)])) == [verdict]


def test_a_replay_is_one_whatever_its_time_and_content(open_claims: Open) -> None:
    claims = open_claims()
    claims.claim([claim("a", 0)])
    assert list(claims.claim([claim("a", 0, 10_000, b"other")])) == ["replay"]


def test_release_needs_the_coordinates_that_hold(open_claims: Open) -> None:
    claims = open_claims()
    claims.claim([claim("a", 0)])
    claims.release([(RecordId("prompt", "a"), Origin(TOPIC, 0, 1, 0))])
    assert list(claims.claim([claim("a", 1)])) == ["duplicate"]
    claims.release([(RecordId("prompt", "a"), Origin(TOPIC, 0, 0, 0))])
    assert list(claims.claim([claim("a", 1)])) == ["new"]
    claims.flush()
    assert list(claims.claim([claim("a", 0)])) == ["duplicate"]
    claims.flush()
    assert list(open_claims().claim([claim("a", 0), claim("a", 1)])) == ["duplicate", "replay"]
