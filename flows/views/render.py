"""Conversations drawn as trees."""

from __future__ import annotations

from rich.text import Text
from rich.tree import Tree

from flows.cli.output import moment, shorten, usd
from flows.views.conversation import Conversation, Reply, Reuse, Turn

WIDTH = 160


def conversation_tree(view: Conversation, full: bool = False) -> Tree:
    """A session: a branch per prompt, its responses below."""
    facts = [f"user {', '.join(view.users) or '–'}", f"tenant {', '.join(view.tenants) or '–'}"]
    if view.application:
        facts.append(f"application {view.application}")
    if view.status:
        facts.append(view.status)
    facts.append(f"{moment(view.first)} to {moment(view.last)}")
    tree = Tree(
        _line(("Session ", "bold"), (view.id, "bold cyan"), ("  " + "  ".join(facts), "dim"))
    )
    for turn in view.turns:
        _add_turn(tree, turn, full)
    return tree


def turn_tree(turn: Turn, full: bool = False) -> Tree:
    """One prompt with its responses."""
    tree = Tree(_line(("Session ", "bold"), (turn.session or "not known", "bold cyan")))
    _add_turn(tree, turn, full)
    return tree


def _add_turn(tree: Tree, turn: Turn, full: bool) -> None:
    facts = [moment(turn.time), turn.model or "no model known"]
    if turn.tokens is not None:
        facts.append(f"~{turn.tokens:,} tokens")
    if turn.history_messages:
        facts.append(f"after {turn.history_messages} messages")
    head = "Prompt " if turn.time is not None else "Prompt (has not come) "
    branch = tree.add(_line((head, "bold green"), (turn.id, ""), ("  " + "  ".join(facts), "dim")))
    _add_text(branch, turn.text, full)
    for document in turn.documents:
        score = f"  score {document.score:.2f}" if document.score is not None else ""
        branch.add(_line(("document ", "dim"), (document.document, ""), (score, "dim")))
    _add_flags(branch, turn.personal_data, turn.reuse)
    if turn.template_prompts > 1:
        branch.add(
            _line((f"one template with {turn.template_prompts - 1} other prompts", "magenta"))
        )
    for reply in turn.replies:
        _add_reply(branch, reply, full)


def _add_reply(branch: Tree, reply: Reply, full: bool) -> None:
    facts = [reply.model or "no model known"]
    if reply.completion_tokens is not None:
        facts.append(f"{reply.prompt_tokens:,} in, {reply.completion_tokens:,} out")
    if reply.cost_status == "priced":
        facts.append(usd(reply.cost_pico_usd))
    elif reply.cost_status not in (None, "none"):
        facts.append(str(reply.cost_status))
    if reply.latency_ms is not None:
        facts.append(f"{reply.latency_ms:,} ms")
    if reply.finish_reason not in (None, "stop"):
        facts.append(f"finish {reply.finish_reason}")
    if reply.state != "complete":
        facts.append(reply.state)
    node = branch.add(
        _line(("Response ", "bold blue"), (reply.id, ""), ("  " + "  ".join(facts), "dim"))
    )
    _add_text(node, reply.text, full)
    for tool in reply.tools:
        node.add(_line(("tool ", "dim"), (f"{tool.name}({shorten(tool.arguments or '', 80)})", "")))
    if reply.error:
        node.add(_line((f"error {reply.error}", "red")))
    _add_flags(node, reply.personal_data, reply.reuse)


def _add_text(branch: Tree, text: str, full: bool) -> None:
    if text:
        branch.add(_line((text if full else shorten(text, WIDTH), "")))


def _add_flags(branch: Tree, personal_data: list[str], reuse: Reuse) -> None:
    if personal_data:
        branch.add(_line((f"personal data: {', '.join(personal_data)}", "yellow")))
    if reuse.records:
        where = f" in {reuse.sessions} other sessions" if reuse.sessions else " in this session"
        branch.add(_line((f"same text as {reuse.records} other records{where}", "magenta")))


def _line(*parts: tuple[str, str]) -> Text:
    """Styled parts as one text; control characters of stored text never reach the terminal."""
    line = Text()
    for text, style in parts:
        line.append("".join(c if c.isprintable() or c == "\n" else "�" for c in text), style)
    return line
