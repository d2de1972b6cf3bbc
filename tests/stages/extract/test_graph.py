from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.items import (
    WITHHELD,
    Cost,
    Enriched,
    ErrorFacts,
    Finding,
    ImageFacts,
    ModelFacts,
    ModelRef,
    Screened,
    ScreenedJson,
    ToolCallFacts,
    Trace,
    UserFacts,
)
from schemas.records import GraphRecord, compose, register_stamp
from stages.extract import mutation_of
from tests.stages.screened import (
    GPT,
    T0_MS,
    digest,
    document,
    history,
    prompt,
    response,
    session,
    session_event,
    template,
    text,
    uuid,
)

ACME = UserFacts("acme", "Acme Ltd", True)
REGISTRY = ModelFacts("gpt-4o", "openai", 128_000, 16_384, family="gpt-4o")
HELLO = "Hello there"


def complete(event: Any, **other: Any) -> Enriched:
    own = getattr(event, "session", None)
    model = getattr(event, "model", None)
    facts: dict[str, Any] = {
        "state": "complete",
        "version": 4,
        "session": own or session(),
        "user": ACME,
        "model": model,
        "registry": REGISTRY if model else None,
        "own_user": ACME if own else None,
        "own_registry": REGISTRY if model else None,
    }
    return Enriched(event, **{**facts, **other})


def graph_of(item: Enriched) -> GraphRecord:
    return mutation_of(item, "test").graph


def edges_of(item: Enriched) -> set[tuple[str, str, str, bool]]:
    return {
        (edge.type, "/".join(edge.source), "/".join(edge.target), edge.owned)
        for edge in graph_of(item).edges
    }


def registers_of(item: Enriched, label: str, key: str) -> dict[str, Any]:
    found = {}
    for node in graph_of(item).nodes:
        if (node.label, node.key) == (label, key):
            assert node.properties is None
            found.update({r.name: (r.value, r.mode, r.at) for r in node.registers})
    return found


def owned(item: Enriched, label: str) -> dict[str, Any]:
    found = [n for n in graph_of(item).nodes if n.label == label and n.properties is not None]
    assert len(found) == 1
    return found[0].properties or {}


def test_everything_a_prompt_writes() -> None:
    event = prompt(1, HELLO, documents=(document("d 1", "content", 0.5),), history=history("Bye"))
    assert edges_of(complete(event)) == {
        ("PART_OF", f"Prompt/{uuid(1)}", "Session/s1", True),
        ("USES_MODEL", f"Prompt/{uuid(1)}", "Model/openai/gpt-4o", True),
        (
            "INSTANTIATES",
            f"Prompt/{uuid(1)}",
            f"Template/acme/{template(HELLO).id}",
            True,
        ),
        ("RETRIEVED", f"Prompt/{uuid(1)}", f"Document/app/d 1/{digest('content')}", True),
        ("HAS_TEXT", f"Prompt/{uuid(1)}", f"Text/acme/{digest(HELLO)}", True),
        ("AFTER", f"Prompt/{uuid(1)}", f"Text/acme/{digest('Bye')}", True),
        ("STARTED_BY", "Session/s1", "User/u1", False),
        ("IN", "Session/s1", "Application/app", False),
        ("MEMBER_OF", "User/u1", "Tenant/acme", False),
    }
    assert owned(complete(event), "Prompt") == {
        "id": uuid(1),
        "createdAt": (T0_MS + 1) * 1000,
        "state": "complete",
        "textHash": digest(HELLO),
        "textLength": len(HELLO),
        "language": "en",
        "languageConfidence": 0.98,
        "tokens": 12,
        "tokenSource": "estimate:cl100k_base",
        "sessionId": "s1",
        "userId": "u1",
        "applicationId": "app",
        "purpose": "chat",
        "tenant": "acme",
        "organisation": "Acme Ltd",
        "modelId": "gpt-4o",
        "modelProvider": "openai",
        "registryModel": "openai/gpt-4o",
        "templateId": template(HELLO).id,
        "templateSource": "derived",
        "historyMessages": 2,
        "historyHash": digest("history Bye"),
        "documents": 1,
    }


def test_registers_of_shared_nodes() -> None:
    item = complete(prompt(1, HELLO))
    time, at = (T0_MS + 1) * 1000, register_stamp((T0_MS + 1) * 1000, uuid(1))
    seen = {"firstSeen": (time, "min", ""), "lastSeen": (time, "max", "")}

    def latest(**values: Any) -> dict[str, Any]:
        return {name: (value, "latest", at) for name, value in values.items()}

    assert registers_of(item, "Session", "s1") == latest(id="s1", purpose="chat") | seen
    assert registers_of(item, "User", "u1") == latest(id="u1") | seen
    assert registers_of(item, "Application", "app") == latest(id="app") | seen
    assert registers_of(item, "Tenant", "acme") == latest(id="acme", organisation="Acme Ltd") | seen
    assert (
        registers_of(item, "Model", "openai/gpt-4o")
        == latest(
            id="gpt-4o",
            provider="openai",
            family="gpt-4o",
            contextWindow=128_000,
            maxOutputTokens=16_384,
        )
        | seen
    )
    assert registers_of(item, "Template", f"acme/{template(HELLO).id}") == latest(
        id=template(HELLO).id, text=HELLO, source="derived"
    )
    assert registers_of(item, "Text", f"acme/{digest(HELLO)}") == latest(hash=digest(HELLO)) | {
        "length": (len(HELLO), "min", "")
    }


def test_a_text_node_holds_no_text() -> None:
    encoded = msgspec.json.encode(
        [n for n in graph_of(complete(prompt(1, HELLO))).nodes if n.label != "Template"]
    )
    assert HELLO.encode() not in encoded


def test_the_length_of_a_text_is_that_of_its_collapsed_form() -> None:
    for value in ("a b", "a  b", "a\nb", " a b", "a b\u00a0", "\u2003a\u2003b"):
        item = complete(prompt(1, value))
        assert registers_of(item, "Text", f"acme/{digest('a b')}")["length"][0] == 3


@pytest.mark.parametrize(
    "event",
    [
        prompt(1, ""),
        prompt(1, " \n\t"),
        prompt(1, WITHHELD, withheld=True, history=history(WITHHELD)),
        prompt(1, "", history=history("")),
    ],
)
def test_what_says_nothing_is_no_reuse(event: Any) -> None:
    kinds = {edge[0] for edge in edges_of(complete(event))}
    assert not kinds & {"HAS_TEXT", "INSTANTIATES", "AFTER"}
    assert not {"textHash", "textLength", "templateId"} & set(owned(complete(event), "Prompt"))


def test_texts_and_templates_of_two_tenants_never_meet() -> None:
    globex = UserFacts("globex", None, True)
    one = edges_of(complete(prompt(1, HELLO, history=history("Bye"))))
    two = edges_of(complete(prompt(2, HELLO, history=history("Bye")), user=globex))
    scoped = ("Text/", "Template/")
    assert not {e[2] for e in one if e[2].startswith(scoped)} & {e[2] for e in two}


def test_a_tenant_called_as_the_absent_one_is_another() -> None:
    unknown = complete(prompt(1, HELLO), user=UserFacts())
    odd = complete(prompt(1, HELLO), user=UserFacts("_", None, True))
    (first,) = (e[2] for e in edges_of(unknown) if e[0] == "HAS_TEXT")
    (second,) = (e[2] for e in edges_of(odd) if e[0] == "HAS_TEXT")
    assert (first.split("/")[1], second.split("/")[1]) == ("_", "%5F")


def test_while_the_directory_is_silent_nothing_is_scoped_to_a_tenant() -> None:
    item = complete(
        prompt(1, HELLO, history=history("Bye")),
        user=UserFacts(),
        own_user=None,
        lacking=("directory",),
    )
    assert {edge[0] for edge in edges_of(item)} == {
        "PART_OF",
        "USES_MODEL",
        "STARTED_BY",
        "IN",
    }


class TestResponses:
    def test_a_waiting_one_writes_what_is_its_own(self) -> None:
        item = complete(response(2, 1), state="waiting", session=None, user=UserFacts())
        assert edges_of(item) == {("RESPONDS_TO", f"Response/{uuid(2)}", f"Prompt/{uuid(1)}", True)}
        assert owned(item, "Response")["state"] == "waiting"

    def test_a_complete_one_contributes_nothing_of_its_prompt(self) -> None:
        item = complete(response(2, 1), model=GPT, registry=REGISTRY)
        assert {n.label for n in graph_of(item).nodes} == {"Response", "Text"}
        assert edges_of(item) == {
            ("RESPONDS_TO", f"Response/{uuid(2)}", f"Prompt/{uuid(1)}", True),
            ("USES_MODEL", f"Response/{uuid(2)}", "Model/openai/gpt-4o", True),
            ("HAS_TEXT", f"Response/{uuid(2)}", f"Text/acme/{digest('Paris.')}", True),
        }

    def test_its_own_session_and_model_are_shared_from_itself_alone(self) -> None:
        own = session("s2", "u2", None)
        mini = ModelRef(Screened("mini"))
        item = complete(
            response(2, 1, session=own, model=mini),
            session=session(),
            model=GPT,
            own_user=UserFacts("globex", None, True),
            own_registry=None,
        )
        found = edges_of(item)
        assert ("STARTED_BY", "Session/s2", "User/u2", False) in found
        assert ("MEMBER_OF", "User/u2", "Tenant/globex", False) in found
        assert ("USES_MODEL", f"Response/{uuid(2)}", "Model/openai/gpt-4o", True) in found
        assert registers_of(item, "Model", "_/mini")["id"][0] == "mini"
        assert not registers_of(item, "Session", "s1")
        assert owned(item, "Response")["userId"] == "u1"

    def test_all_of_its_properties(self) -> None:
        event = response(
            2,
            1,
            finish_reason="other",
            finish_reason_original=Screened("eos"),
            latency_ms=812,
            ttft_ms=90,
            throughput=24.5,
            reported_cost=0.002,
            error=ErrorFacts(Screened("429"), Screened("slow down"), Screened("rate"), True),
            tags=(Screened("a"), Screened("b")),
            findings=(Finding("PERSON", "flag", 2), Finding("EMAIL_ADDRESS", "redact", 1)),
            trace=Trace(Screened("t"), Screened("s"), Screened("p")),
            source=Screened("observatory"),
        )
        cost = Cost("priced", 450, "list-1", "2026-01-01", "provider")
        found = owned(complete(event, cost=cost), "Response")
        expected = {
            "promptId": uuid(1),
            "finishReason": "other",
            "finishReasonOriginal": "eos",
            "promptTokens": 100,
            "completionTokens": 20,
            "totalTokens": 120,
            "cachedTokens": 0,
            "cacheWriteTokens": 0,
            "reasoningTokens": 0,
            "latencyMs": 812,
            "ttftMs": 90,
            "throughput": 24.5,
            "reportedCost": 0.002,
            "costStatus": "priced",
            "costPicoUsd": 450,
            "priceVersion": "list-1",
            "priceFrom": "2026-01-01",
            "costTokenSource": "provider",
            "errorCode": "429",
            "errorMessage": "slow down",
            "errorType": "rate",
            "errorRecoverable": True,
            "tags": ("a", "b"),
            "piiEntities": ("EMAIL_ADDRESS", "PERSON"),
            "piiFindings": ("EMAIL_ADDRESS:redact:1", "PERSON:flag:2"),
            "traceId": "t",
            "spanId": "s",
            "parentSpanId": "p",
            "source": "observatory",
        }
        assert {name: found[name] for name in expected} == expected

    def test_tool_calls_are_its_own_nodes(self) -> None:
        calls = (
            ToolCallFacts(0, Screened("c0"), Screened("function"), Screened("f"), Screened("{}")),
            ToolCallFacts(1, None, None, Screened("g"), None),
        )
        item = complete(response(2, 1, None, tool_calls=calls))
        tools = {n.key: n.properties for n in graph_of(item).nodes if n.label == "ToolCall"}
        assert tools == {
            f"{uuid(2)}/0": {
                "responseId": uuid(2),
                "index": 0,
                "callId": "c0",
                "type": "function",
                "name": "f",
                "arguments": "{}",
            },
            f"{uuid(2)}/1": {"responseId": uuid(2), "index": 1, "name": "g"},
        }
        assert owned(complete(response(2, 1, None, tool_calls=calls)), "Response")["toolCalls"] == 2
        assert {edge[2] for edge in edges_of(item) if edge[0] == "INVOKES"} == {
            f"ToolCall/{key}" for key in tools
        }


def test_the_session_event_alone_says_how_a_session_stands() -> None:
    event = session_event(
        3,
        "failed",
        started=5,
        ended=9,
        metadata=ScreenedJson(b'{"a":1}'),
        tags=(Screened("x"),),
    )
    item = complete(event, model=None, registry=None)
    found = {name: value for name, (value, _, _) in registers_of(item, "Session", "s1").items()}
    assert found == {
        "id": "s1",
        "purpose": "chat",
        "status": "failed",
        "startedAt": 5,
        "endedAt": 9,
        "metadata": '{"a":1}',
        "tags": ("x",),
        "firstSeen": event.time,
        "lastSeen": event.time,
    }
    assert all(node.properties is None for node in graph_of(item).nodes)


def test_an_alias_points_to_the_registrys_entry() -> None:
    named = ModelRef(Screened("openai/gpt-4o"))
    item = complete(prompt(1, model=named), own_registry=REGISTRY, registry=REGISTRY)
    alias = ("ALIAS_OF", "Model/_/openai%2Fgpt-4o", "Model/openai/gpt-4o", False)
    assert alias in edges_of(item)
    assert registers_of(item, "Model", "openai/gpt-4o")["contextWindow"][0] == 128_000
    assert "firstSeen" not in registers_of(item, "Model", "openai/gpt-4o")
    assert "contextWindow" not in registers_of(item, "Model", "_/openai%2Fgpt-4o")


def test_of_a_document_retrieved_twice_the_greatest_score_stays() -> None:
    twice = tuple(document("d", "same", score) for score in (0.25, None, 0.75, 0.5))
    found = [
        e for e in graph_of(complete(prompt(1, documents=twice))).edges if "score" in e.properties
    ]
    assert [edge.properties for edge in found] == [{"score": 0.75}]


def test_images_are_counted_not_kept() -> None:
    images = (
        ImageFacts(Screened("image/png"), 10, "k1", None),
        ImageFacts(None, 5, "k2", Screened("https://example.org/a.png")),
    )
    found = owned(complete(prompt(1, images=images)), "Prompt")
    assert {k: v for k, v in found.items() if k.startswith("image")} == {
        "images": 2,
        "imageTypes": ("image/png",),
        "imageBytes": 15,
        "imageKeys": ("k1", "k2"),
        "imageUrls": ("https://example.org/a.png",),
    }


@pytest.mark.parametrize("id_", ["", "_", "a/b", "ü", "a%2Fb", "\x00", "🎉" * 10])
def test_odd_identifiers_make_usable_keys(id_: str) -> None:
    item = complete(prompt(1, session=session(id_, id_)))
    (target,) = (e.target for e in graph_of(item).edges if e.type == "PART_OF")
    assert target == ("Session", compose(id_))
    assert target[1]
    assert target[1].isprintable()


def test_a_prompts_text_is_kept_out_of_its_node() -> None:
    values = owned(complete(prompt(1, HELLO)), "Prompt").values()
    assert HELLO not in values
    assert text(HELLO).hash in values
