"""What the stages keep between events, beside a log in Kafka."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.backends import Folder, open_state
from flows.settings import Settings, load_settings
from schemas.log import Origin
from schemas.ports import Claim
from schemas.records import RecordId
from sinks.kafka.settings import KafkaSettings
from tests.flows.kafka.world import PROMPTS, make_topics, remove_topics

ID = RecordId("prompt", "00000000-0000-4000-8000-000000000001")


def of(data: Path, **backends: str) -> Settings:
    settings = load_settings(data=data)
    return settings.model_copy(
        update={"backends": settings.backends.model_copy(update=dict(backends))}
    )


@pytest.mark.servers
def test_a_claim_of_a_topic_that_was_made_anew_does_not_count(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    given = of(tmp_path, log="kafka").model_copy(update={"kafka": settings})

    def claim(offset: int) -> str:
        with ExitStack() as stack:
            state = open_state(given, Folder(given, stack), lambda: "set", stack)
            origin = Origin(PROMPTS, 0, offset, 1_000)
            (verdict,) = state.claims.claim([Claim(ID, origin, b"content")])
            state.claims.flush()
            return verdict

    assert [claim(5), claim(5), claim(9)] == ["new", "replay", "duplicate"]
    remove_topics(settings, PROMPTS)
    make_topics(settings)
    assert claim(9) == "new"


def test_each_member_of_a_group_has_a_name_of_its_own_that_outlives_it(tmp_path: Path) -> None:
    given = of(tmp_path, state="redis")

    def name(member: int | None) -> str:
        with ExitStack() as stack:
            state = open_state(given, Folder(given, stack), lambda: "set", stack, member)
            return str(state.joins._member)  # type: ignore[attr-defined]

    assert len({name(None), name(0), name(1)}) == 3
    assert name(1) == name(1)
