"""show, search, similar, usage, graph: what a person looks up in the sample."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import pytest

from schemas.failures import UserError
from tests.flows.cli.conftest import SAMPLE

Ask = Callable[..., Any]
Call = Callable[..., str]


def sample_events() -> list[dict[str, Any]]:
    found = []
    for line in (SAMPLE / "events.jsonl").read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def test_a_session_shows_its_turns_in_order_with_their_answers(ask: Ask) -> None:
    view = ask("show", "session", "s-024")
    sent = sorted(
        (e["timestamp"], e["eventId"])
        for e in sample_events()
        if "prompt" in e and e["session"]["id"] == "s-024"
    )
    shown = [t["id"] for t in view["turns"]]
    assert len(shown) == 3
    assert shown == [event for _, event in sent if event in shown]
    answers = {e["eventId"]: e for e in sample_events() if "response" in e}
    for turn in view["turns"]:
        for reply in turn["replies"]:
            assert answers[reply["id"]]["promptEventId"] == turn["id"]
            assert reply["completion_tokens"] == answers[reply["id"]]["usage"]["completionTokens"]
            assert reply["text"]


def test_a_session_as_a_tree(call: Call) -> None:
    shown = call("show", "session", "s-024")
    assert shown.startswith("Session s-024")
    assert shown.count("Prompt ") == 3
    assert shown.count("Response ") == 3
    assert "$0." in shown
    assert " ms" in shown


def test_a_prompt_shows_reuse_of_its_text_in_other_sessions(ask: Ask) -> None:
    texts = Counter(
        (e["prompt"]["text"], e["session"]["id"])
        for e in sample_events()
        if "prompt" in e and isinstance(e["prompt"], dict) and e["prompt"].get("text")
    )
    sessions = Counter(text for text, _ in texts)
    reused = next(text for text, n in sessions.items() if n > 1)
    event = next(e for e in sample_events() if e.get("prompt", {}).get("text") == reused)
    view = ask("show", "prompt", event["eventId"])
    assert view["reuse"]["records"] >= 1


def test_what_is_not_there_is_a_clear_error(call: Call) -> None:
    with pytest.raises(UserError, match="There is no session"):
        call("show", "session", "nowhere")
    with pytest.raises(UserError, match="There is no prompt"):
        call("show", "prompt", "nowhere")
    with pytest.raises(UserError, match="no vector for event"):
        call("similar", "nowhere")


def test_search_finds_words_and_marks_them(ask: Ask, call: Call) -> None:
    hits = ask("search", "homophones")
    assert hits
    assert all("homophones" in h["snippet"].lower() for h in hits)
    assert "[homophones]" in hits[0]["snippet"].lower()
    assert "homophones" in call("search", "homophones")
    assert "Nothing found" in call("search", "zzyzx")


@pytest.mark.parametrize("words", ['"', "AND OR NOT", "a* ^b (c", "'; DROP TABLE x", "text:", "*"])
def test_search_takes_whatever_is_typed(call: Call, words: str) -> None:
    call("search", words)


def test_similar_by_event_and_by_text_agree(ask: Ask) -> None:
    hit = ask("search", "homophones")[0]
    view = ask("show", "prompt", hit["id"]["id"])
    by_text = ask("similar", "--text", view["text"], "--limit", "3")
    assert by_text[0]["id"] == hit["id"]["id"]
    assert by_text[0]["score"] > 0.999
    by_event = ask("similar", hit["id"]["id"], "--limit", "3")
    assert [n["id"] for n in by_event][:2] == [n["id"] for n in by_text][1:]


def test_usage_adds_up_to_what_the_responses_billed(ask: Ask) -> None:
    billed = {
        e["eventId"]: e["usage"]["completionTokens"]
        for e in sample_events()
        if "response" in e
        and isinstance(e.get("usage"), dict)
        and isinstance(e["usage"].get("totalTokens"), int)
    }
    for by in ("tenant", "model", "user", "day"):
        rows = ask("usage", "--by", by)
        assert sum(r["completion_tokens"] for r in rows) == sum(billed.values()), by
    rows = ask("usage", "--by", "tenant", "--by", "model")
    assert all(len(r["key"]) == 2 for r in rows)
    assert any(r["unpriced"] for r in rows)


def test_the_graph_can_be_read_by_others(call: Call, ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "graph.graphml"
    call("graph", "export", "--output", str(file))
    graph = networkx.read_graphml(io.BytesIO(file.read_bytes()), force_multigraph=True)
    counted = ask("graph", "counts")
    assert graph.number_of_nodes() == sum(counted["nodes"].values())
    assert graph.number_of_edges() == sum(counted["edges"].values())
    labels = Counter(data["label"] for _, data in graph.nodes(data=True))
    assert labels == counted["nodes"]


def test_json_export_holds_every_node_and_edge(call: Call, ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "graph.jsonl"
    call("graph", "export", "--format", "json", "--output", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    counted = ask("graph", "counts")
    assert sum("node" in x for x in lines) == sum(counted["nodes"].values())
    assert sum("edge" in x for x in lines) == sum(counted["edges"].values())
    assert len(ask("graph", "hash")["hash"]) == 64
