"""The stored graph is a function of the set of events: any order, any chunks, any repetition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chunk import Chunk
from schemas.items import ModelRef, Screened
from schemas.log import Partition
from stages.extract import ExtractStage
from stages.lookup import LookupStage, TomlDirectory, TomlRegistry, shipped_models
from tests.stages.extract.fold import Stores
from tests.stages.memory_joins import MemoryJoins
from tests.stages.screened import (
    DAY_MS,
    T0_MS,
    document,
    embedded,
    history,
    prompt,
    response,
    session,
    session_event,
    uuid,
)

REGISTRY = TomlRegistry(shipped_models())
USERS = """
[[users]]
id = "u1"
tenant = "acme"
organisation = "Acme Ltd"
[[users]]
id = "u2"
tenant = "globex"
"""
ORPHANED = T0_MS + 2 * DAY_MS


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> TomlDirectory:
    path: Path = tmp_path_factory.mktemp("users") / "users.toml"
    path.write_text(USERS, "utf-8")
    return TomlDirectory(path, str)


texts = st.sampled_from(["Hello", "What is new?", "What  is\nnew?", "", "Paris."])
models = st.sampled_from(
    [
        ModelRef(Screened("gpt-4o"), Screened("openai")),
        ModelRef(Screened("openai/gpt-4o"), None, Screened("v2")),
        ModelRef(Screened("nobody-knows"), Screened("acme")),
    ]
)
sessions = st.builds(
    session,
    st.sampled_from(["s1", "s2"]),
    st.sampled_from(["u1", "u2", "u3"]),
    st.sampled_from(["app", None]),
)
documents = st.lists(
    st.builds(
        document,
        st.sampled_from(["d1", "d2"]),
        st.sampled_from(["content", "other"]),
        st.sampled_from([None, 0.25, 0.75]),
    ),
    max_size=3,
).map(tuple)


@st.composite
def event_sets(draw: st.DrawFn) -> list[Any]:
    """Up to nine events over few sessions, users, texts and prompts; each id once."""
    events: list[Any] = []
    for number in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(["prompt", "response", "response", "session"]))
        if kind == "prompt":
            last = draw(st.sampled_from([None, "Hello", "Paris.", ""]))
            events.append(
                prompt(
                    number,
                    draw(texts),
                    session=draw(sessions),
                    model=draw(models),
                    documents=draw(documents),
                    history=None if last is None else history(last),
                    withheld=draw(st.sampled_from([False, False, True])),
                )
            )
        elif kind == "response":
            events.append(
                response(
                    number,
                    draw(st.integers(0, 9)),
                    draw(texts | st.none()),
                    session=draw(st.none() | sessions),
                    model=draw(st.none() | models),
                )
            )
        else:
            status = draw(st.sampled_from(["active", "completed"]))
            events.append(session_event(number, status, session=draw(sessions)))
    return events


def run(events: list[Any], cuts: list[bool], directory: TomlDirectory, overdue: int) -> Stores:
    """Through lookup and extraction in chunks; log time jumps past the wait before the event of
    number ``overdue`` and at the end."""
    lookup = LookupStage(REGISTRY, directory, MemoryJoins())
    extract = ExtractStage("test")
    stores = Stores()
    chunk: list[Any] = []

    def flush(log_time: int) -> None:
        enriched = lookup(Chunk(Partition("t", 0), [*map(embedded, chunk)], log_time)).passed
        for mutation in extract(enriched).passed.items:
            stores.add(mutation)
        chunk.clear()

    for number, event in enumerate(events):
        if number == overdue:
            flush(ORPHANED)
        chunk.append(event)
        if cuts[number % len(cuts)]:
            flush(T0_MS)
    flush(ORPHANED)
    return stores


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_order_any_chunks_any_repetition(directory: TomlDirectory, data: st.DataObject) -> None:
    events = data.draw(event_sets())
    plain = run(events, [False], directory, overdue=-1)
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=4))
    shuffled = data.draw(st.permutations(repeated))
    cuts = data.draw(st.lists(st.booleans(), min_size=1, max_size=6))
    other = run(shuffled, cuts, directory, overdue=data.draw(st.integers(-1, 12)))
    assert other.graph.nodes() == plain.graph.nodes()
    assert other.graph.edges() == plain.graph.edges()
    assert other.graph.hash() == plain.graph.hash()
    assert other.content() == plain.content()


def test_the_hash_tells_one_event_from_none(directory: TomlDirectory) -> None:
    one = run([prompt(1)], [True], directory, -1)
    two = run([prompt(1), prompt(2)], [True], directory, -1)
    changed = run([prompt(1, "Another question?")], [True], directory, -1)
    assert len({one.graph.hash(), two.graph.hash(), changed.graph.hash()}) == 3


def test_a_late_prompt_moves_the_orphans_text_to_its_tenant(directory: TomlDirectory) -> None:
    orphaned = run([response(2, 1)], [True], directory, -1)
    assert [key for label, key in orphaned.graph.nodes() if label == "Text"] == [
        f"_/{response(2, 1).text.hash}"
    ]
    late = run([response(2, 1), prompt(1, "Q?")], [True], directory, overdue=1)
    tenants = {key.split("/")[0] for label, key in late.graph.nodes() if label == "Text"}
    assert tenants == {"acme"}
    assert late.graph.nodes()["Response", uuid(2)]["state"] == "complete"
