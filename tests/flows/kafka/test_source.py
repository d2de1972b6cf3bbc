"""The source over a real broker: start, order, commits, gaps, rewinds."""

from __future__ import annotations

from tests.flows.kafka.world import (
    PROMPTS,
    RESPONSES,
    World,
    drain,
)


def test_a_new_group_reads_from_the_beginning_to_the_end(world: World) -> None:
    world.produce(PROMPTS, 0, 1, 2, 3)
    world.produce(RESPONSES, 1, 4, 5)
    chunks = [c for c in drain(world.part()) if c.items]
    assert sorted((c.partition.topic, len(c.items)) for c in chunks) == [
        (PROMPTS, 3),
        (RESPONSES, 2),
    ]
    record = chunks[0].items[0]
    assert (record.origin.offset, record.origin.timestamp) == (0, 1)
    assert record.original.open() == (None, (), b"{}")
    committed = world.committed()
    assert (committed[PROMPTS, 0], committed[RESPONSES, 1]) == (3, 2)
    assert world.lag() == 0
    assert not [c for c in drain(world.part()) if c.items]
