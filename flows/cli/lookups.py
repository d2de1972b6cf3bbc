"""``show``, ``search``, ``similar`` and ``usage``: looking things up in the stores."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich import markup

from flows.cli.options import (
    AsJson,
    Config,
    Data,
    Limit,
    ModelName,
    Tenant,
    existing,
    load,
)
from flows.cli.output import cell, console, escape, moment, print_json, shorten, table, usd
from schemas.failures import UserError

if TYPE_CHECKING:
    from schemas.queries import Usage

show_app = typer.Typer(help="Show a session or a prompt as a conversation.", no_args_is_help=True)

_MARKS = ("\x02", "\x03")


class By(StrEnum):
    """What usage is grouped by."""

    tenant = "tenant"
    model = "model"
    user = "user"
    day = "day"
    provider = "provider"
    purpose = "purpose"
    status = "status"


@show_app.command("session")
def show_session(
    session: Annotated[str, typer.Argument(metavar="ID", help="The session's id.")],
    full: Annotated[bool, typer.Option("--full", help="Print texts in full.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Show a session: its prompts and responses in order, with model, tokens, cost, latency."""
    from flows.stores import opened_views
    from flows.views.conversation import session_view
    from flows.views.render import conversation_tree

    with opened_views(existing(load(config, data))) as stores:
        view = session_view(stores, session)
    if view is None:
        raise UserError(f"There is no session {session!r}. 'memory-graph search' finds sessions.")
    print_json(view) if as_json else console().print(conversation_tree(view, full))


@show_app.command("prompt")
def show_prompt(
    prompt: Annotated[str, typer.Argument(metavar="ID", help="The prompt's event id.")],
    full: Annotated[bool, typer.Option("--full", help="Print texts in full.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Show one prompt with its responses, documents, and where its text was used before."""
    from flows.stores import opened_views
    from flows.views.conversation import prompt_view
    from flows.views.render import turn_tree

    with opened_views(existing(load(config, data))) as stores:
        view = prompt_view(stores, prompt.lower())
    if view is None:
        raise UserError(f"There is no prompt {prompt!r}. 'memory-graph search' finds prompts.")
    print_json(view) if as_json else console().print(turn_tree(view, full))


def search(
    words: Annotated[
        list[str], typer.Argument(help='Words; "a phrase" in quotes, prefix*, -without.')
    ],
    limit: Limit = 10,
    tenant: Tenant = None,
    model: ModelName = None,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Search the texts of prompts and responses; best hits first."""
    from flows.stores import opened_views

    marks = ("[", "]") if as_json else _MARKS
    with opened_views(existing(load(config, data))) as stores:
        hits = stores.search.search(
            " ".join(words),
            limit,
            tenant=tenant,
            model=model,
            session=session,
            user=user,
            marks=marks,
        )
    if as_json:
        print_json(hits)
        return
    out = console()
    if not hits:
        out.print("Nothing found.")
    for hit in hits:
        out.print(
            f"[bold]{hit.id.kind}[/] {hit.id.id}  [dim]{moment(hit.time)}  "
            f"{_labels(session=hit.session, model=hit.model, tenant=hit.tenant)}[/]"
        )
        out.print(f"  {_marked(shorten(hit.snippet, 400))}")


def similar(
    event: Annotated[
        str | None, typer.Argument(metavar="[EVENT]", help="A prompt's or response's event id.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Any text instead.")] = None,
    limit: Limit = 5,
    tenant: Tenant = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Find the texts nearest in meaning to an event's text, or to a text of your own."""
    from flows.stores import opened_views
    from flows.views.neighbours import near_event, near_text

    if (event is None) == (text is None):
        raise UserError("Name one event, or a text with --text.")
    settings = load(config, data)
    with opened_views(existing(settings)) as stores:
        if text is not None:
            found = near_text(stores, settings, text, limit, tenant)
        else:
            assert event is not None
            found = near_event(stores, event.lower(), limit, tenant)
    if as_json:
        print_json(found)
        return
    rows = [(n.score, n.kind, n.id, n.session or "–", shorten(n.text, 70)) for n in found]
    console().print(table("", ("cosine", "kind", "event", "session", "text"), rows))


def usage(
    by: Annotated[list[By] | None, typer.Option("--by", help="Group by (repeatable).")] = None,
    tenant: Tenant = None,
    model: ModelName = None,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Tokens, cost and latency, as billed with the responses."""
    from flows.stores import opened_views

    groups = [b.value for b in by] if by else ["tenant", "model"]
    with opened_views(existing(load(config, data))) as stores:
        rows = stores.usage.usage(groups, tenant=tenant, model=model, user=user)  # type: ignore[arg-type]
        if as_json:
            print_json(rows)
            return
        total = stores.usage.usage(tenant=tenant, model=model, user=user)
    columns = (
        *groups, "prompts", "responses", "tokens in", "cached", "tokens out", "cost",
        "not priced", "p50 ms", "p95 ms",
    )  # fmt: skip
    out = console()
    shown = table("Usage", columns, [(*r.key, *_figures(r)) for r in rows])
    shown.columns[len(groups) + 5].justify = "right"
    if total and len(rows) > 1:
        shown.add_section()
        empty = [""] * (len(groups) - 1)
        shown.add_row("all", *empty, *(cell(v) for v in _figures(total[0])), style="bold")
    out.print(shown)


def _figures(row: Usage) -> Sequence[object]:
    return (
        row.prompts,
        row.responses,
        row.prompt_tokens,
        row.cached_tokens,
        row.completion_tokens,
        usd(row.cost_pico_usd),
        row.unpriced + row.inconsistent,
        row.latency_p50_ms,
        row.latency_p95_ms,
    )


def _labels(**named: str | None) -> str:
    return "  ".join(f"{name} {escape(value)}" for name, value in named.items() if value)


def _marked(snippet: str) -> str:
    """The snippet with what matched in bold."""
    out = []
    for i, part in enumerate(snippet.split(_MARKS[0])):
        hit, closed, rest = part.partition(_MARKS[1]) if i else ("", "", part)
        out.append(f"[bold yellow]{escape(hit)}[/]" if closed else markup.escape(hit))
        out.append(escape(rest))
    return "".join(out)
