"""Where the words of an event are by design: the table that the search of all places is held to."""

from __future__ import annotations

from schemas.records import STORES


def _free(*fields: str) -> set[str]:
    """All that is planted in a free object."""
    parts = ("deep", "escaped", "json", "json.key", "key", "list", "twice", "value")
    return {f"{field}.{part}" for field in fields for part in parts}


PROMPT, RESPONSE, SESSION = "PromptEvent", "ResponseEvent", "SessionEvent"
GRAPH = {"neo4j", "answer of graph"}
SEARCH = {"elasticsearch"}
POINT = {"influxdb"}
EVERY = GRAPH | SEARCH | POINT | {"pinecone"}
WAITING = {"redis"}
ASKED = {"asked of services"}
KEPT: tuple[tuple[str, set[str], set[str]], ...] = (
    (
        "the id that every record is found by; of a prompt also in the join with its responses",
        EVERY | WAITING | {"answer of search"},
        {f"{PROMPT}.session.id"},
    ),
    (
        "the same of a session event, which has no vector",
        GRAPH | SEARCH | POINT,
        {f"{SESSION}.session.id", f"{SESSION}.session.applicationId"},
    ),
    (
        "a user without personal data in the id: the directory is asked for the tenant",
        EVERY | WAITING | ASKED,
        {f"{PROMPT}.session.userId"},
    ),
    (
        "the same of a session event",
        GRAPH | SEARCH | POINT | ASKED,
        {f"{SESSION}.session.userId"},
    ),
    (
        "applications are no part of a vector",
        GRAPH | SEARCH | POINT | WAITING,
        {f"{PROMPT}.session.applicationId"},
    ),
    (
        "the model: the registry is asked for it, usage is told by it",
        EVERY | WAITING | ASKED | {"answer of search", "answer of usage"},
        {f"{PROMPT}.model.id"},
    ),
    ("its provider", EVERY | WAITING | ASKED, {f"{PROMPT}.model.provider"}),
    (
        "what a response says of session and model: its prompt's win, its nodes are named",
        GRAPH | WAITING | ASKED,
        {f"{RESPONSE}.model.id", f"{RESPONSE}.model.provider", f"{RESPONSE}.session.userId"},
    ),
    (
        "the same, for which nobody is asked",
        GRAPH | WAITING,
        {
            f"{RESPONSE}.model.version",
            f"{RESPONSE}.session.id",
            f"{RESPONSE}.session.applicationId",
        },
    ),
    (
        "screened texts are in the search store alone",
        SEARCH | {"answer of search"},
        {f"{PROMPT}.prompt.text"},
    ),
    (
        "and with a response that waits for its prompt",
        SEARCH | WAITING | {"answer of search"},
        {f"{RESPONSE}.response.text"},
    ),
    (
        "filters of the search, shown with the node",
        GRAPH | SEARCH,
        {f"{PROMPT}.tags", f"{SESSION}.tags"}
        | _free(f"{PROMPT}.prompt.metadata", f"{SESSION}.metadata"),
    ),
    ("tags of a response that waits", GRAPH | SEARCH | WAITING, {f"{RESPONSE}.tags"}),
    (
        "properties of a prompt, or of a node beside it",
        GRAPH,
        {
            f"{PROMPT}.context.documents.id",
            f"{PROMPT}.prompt.images.mimeType",
            f"{PROMPT}.prompt.images.url",
            f"{PROMPT}.prompt.template",
            *(f"{PROMPT}.traceContext.{name}" for name in ("traceId", "spanId", "parentSpanId")),
        }
        | _free(f"{PROMPT}.prompt.parameters"),
    ),
    (
        "properties of a response, or of a node beside it, and what the join keeps of a prompt",
        GRAPH | WAITING,
        {
            "header source",
            f"{PROMPT}.model.version",
            f"{PROMPT}.model.parameters.stopSequences",
            f"{RESPONSE}.response.finishReason",
            *(f"{RESPONSE}.error.{name}" for name in ("code", "message", "type")),
            *(f"{RESPONSE}.response.toolCalls.{name}" for name in ("id", "type", "function.name")),
            *(f"{RESPONSE}.traceContext.{name}" for name in ("traceId", "spanId", "parentSpanId")),
        }
        | _free(f"{RESPONSE}.response.toolCalls.function.arguments"),
    ),
    (
        "a response that waits is kept whole",
        WAITING,
        {f"{RESPONSE}.model.parameters.stopSequences"},
    ),
)
"""Why, where, what: the words of these fields are in these places and in no other, and those of all
other fields (keys and headers of records, unknown fields, histories, contents of documents, images)
are nowhere."""
QUEUES = {
    "llm.enrichment.v1",
    *(f"llm.reconciliation.{store}.v1" for store in STORES),
}
FOUND = {
    *((f"kafka {queue} key", "an event id") for queue in QUEUES),
    ("kafka llm.prompts.v1-dlq header x-event-id", "an event id"),
    ("neo4j Prompt.id", "an event id"),
    ("pinecone id", "an event id"),
    ("influxdb event.event_id", "an event id"),
    ("elasticsearch id", "an event id"),
    ("redis join key", "an event id"),
    ("spans", "an event id"),
    ("file run-1.err", "an event id"),
    ("answer of dlq", "the name of a topic"),
    ("page metrics", "the name of a store"),
    ("page health", "the name of a store"),
    ("answer of status", "the name of a store"),
    ("answer of prove", "the name of a topic"),
}
"""What the same search has to find in the places where nothing of an event's content is."""
