"""Hostile records are passed or rejected with a known code; never a crash, never a value shown."""

from __future__ import annotations

from collections import Counter

import msgspec

from schemas.chunk import Chunk
from schemas.items import Decoded
from schemas.log import Partition
from stages.dedupe import CODES as DEDUPE_CODES
from stages.dedupe import Dedupe
from stages.validate import CODES, Validate
from tests.fuzz.hostile import hostile
from tests.stages.twins import MemoryClaims

COUNT = 5_000


def test_each_is_passed_or_rejected_with_a_known_code() -> None:
    validate, dedupe = Validate(), Dedupe(MemoryClaims(), b"k" * 32)
    codes: Counter[str] = Counter()
    passed = 0
    for record in hostile(COUNT, seed=1):
        partition = Partition(record.origin.topic, record.origin.partition)
        first = validate(Chunk(partition, [record]))
        second = dedupe(first.passed)
        for rejected in (*first.rejected, *second.rejected):
            codes[rejected.code] += 1
            assert rejected.origin == record.origin
            assert len(msgspec.json.encode(rejected.detail)) < 300
        passed += len(second.passed.items) + second.duplicates
        assert (
            len(first.rejected)
            + len(second.rejected)
            + second.duplicates
            + len(second.passed.items)
            == 1
        )
    assert passed + sum(codes.values()) == COUNT
    assert set(codes) <= set(CODES) | set(DEDUPE_CODES)
    assert set(CODES) - set(codes) <= {"unknown_topic", "undecodable", "too_long"}
    assert COUNT * 0.3 < passed < COUNT * 0.7


def test_the_same_seed_gives_the_same_records() -> None:
    one = [(r.origin, r.original.open()) for r in hostile(200, seed=3)]
    two = [(r.origin, r.original.open()) for r in hostile(200, seed=3)]
    assert one == two
    assert one != [(r.origin, r.original.open()) for r in hostile(200, seed=4)]


def test_validation_does_not_depend_on_what_came_before() -> None:
    records = list(hostile(300, seed=5))
    fresh = [Validate().one(record) for record in records]
    stage = Validate()
    again = [stage.one(record) for record in reversed(records)][::-1]
    assert fresh == again
    assert any(isinstance(result, Decoded) for result in fresh)
