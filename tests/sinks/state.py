"""Claims, prompt sides and responses to fill a state store with."""

from __future__ import annotations

from schemas.items import (
    Embedded,
    ModelRef,
    PromptSide,
    Screened,
    ScreenedResponse,
    SessionRef,
    UserFacts,
)
from schemas.log import Origin, Original
from schemas.ports import Claim, Waiting
from schemas.records import RecordId

TTL = 100
TOPIC = "llm.prompts.v1"


def claim(
    id_: str, offset: int, time: int = 0, content: bytes = b"same", topic: str = TOPIC
) -> Claim:
    return Claim(RecordId("prompt", id_), Origin(topic, 0, offset, time), content)


def side(prompt_id: str, *, known: bool = True) -> PromptSide:
    session = SessionRef(Screened("s"), Screened("u"))
    user = UserFacts("acme", None, known=True) if known else UserFacts()
    return PromptSide(prompt_id, 5, session, ModelRef(Screened("m")), user)


def response(id_: str, prompt_id: str, log_time: int = 0, *, original: bool = False) -> Waiting:
    origin = Origin("llm.responses.v1", 0, 0, log_time)
    event = ScreenedResponse(id=id_, time=7, origin=origin, prompt_id=prompt_id)
    raw = Original(None, (), b"raw bytes of the event") if original else None
    return Waiting(Embedded(event, b"\0" * 8, "model", raw), log_time)
