"""The properties of the nodes that a record owns: one table a label, as in ``docs/graph.md``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from schemas.items import (
    Enriched,
    ErrorFacts,
    Finding,
    History,
    ImageFacts,
    ModelFacts,
    ModelRef,
    ScreenedJson,
    ScreenedPrompt,
    ScreenedResponse,
    SessionRef,
    TemplateRef,
    ToolCallFacts,
    Trace,
    UsageFacts,
)
from schemas.records import Value, compose
from stages.extract.content import content_of

Properties = dict[str, Value]

NO_JSON = b"{}"


# Users, sessions and models recur; percent-encoding them anew would cost more than all the rest.
_remembered = lru_cache(maxsize=65_536)(compose)
_LONG = 256


def key(*parts: str | None) -> str:
    """As :func:`schemas.records.compose`; short keys are remembered, so that the bound is one of
    memory too."""
    for part in parts:
        if part is not None and len(part) > _LONG:
            return compose(*parts)
    return _remembered(*parts)


def registry_key(entry: ModelFacts) -> str:
    """The key of the Model node that a registry's entry is."""
    return key(entry.provider, entry.id)


def present(values: Properties) -> Properties:
    """Without what is absent: None, empty lists."""
    return {name: value for name, value in values.items() if value is not None and value != ()}


def json_text(value: ScreenedJson) -> str | None:
    """None for an empty object."""
    return None if value == NO_JSON else value.decode()


def entities(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(sorted({finding.entity for finding in findings}))


def prompt_properties(item: Enriched, event: ScreenedPrompt) -> Properties:
    return present(
        {
            **_common(item, event),
            "modelParameters": json_text(event.model.parameters),
            **(_template(event.template) if content_of(event) is not None else {}),
            "parameters": json_text(event.parameters),
            "metadata": json_text(event.metadata),
            "documents": len(event.documents) or None,
            "retrievalMethod": event.retrieval_method,
            **(_history(event.history) if event.history is not None else {}),
            **(_images(event.images) if event.images else {}),
        }
    )


def response_properties(item: Enriched, event: ScreenedResponse) -> Properties:
    cost = item.cost
    return present(
        {
            **_common(item, event),
            "promptId": event.prompt_id,
            "finishReason": event.finish_reason,
            "finishReasonOriginal": event.finish_reason_original,
            "toolCalls": len(event.tool_calls) or None,
            **(_usage(event.usage) if event.usage is not None else {}),
            "latencyMs": event.latency_ms,
            "ttftMs": event.ttft_ms,
            "throughput": event.throughput,
            "reportedCost": event.reported_cost,
            "costStatus": cost.status,
            "costPicoUsd": cost.pico_usd,
            "priceVersion": cost.price_version,
            "priceFrom": cost.price_from,
            "costTokenSource": cost.token_source,
            **(_error(event.error) if event.error is not None else {}),
        }
    )


def tool_call_properties(response_id: str, call: ToolCallFacts) -> Properties:
    return present(
        {
            "responseId": response_id,
            "index": call.index,
            "callId": call.id,
            "type": call.type,
            "name": call.name,
            "arguments": call.arguments,
        }
    )


def _common(item: Enriched, event: ScreenedPrompt | ScreenedResponse) -> Properties:
    content = content_of(event)
    facts = event.facts
    has_text = event.text is not None
    counted = facts.token_source != "none"
    return {
        "id": event.id,
        "createdAt": event.time,
        "state": item.state,
        "textHash": None if content is None else content.hash,
        "textLength": None if content is None else content.length,
        "withheld": event.withheld or None,
        "language": facts.language if has_text else None,
        "languageConfidence": facts.language_confidence if has_text else None,
        "tokens": facts.tokens if counted else None,
        "tokenSource": facts.token_source if counted else None,
        **(_session(item.session) if item.session is not None else {}),
        "tenant": item.user.tenant,
        "organisation": item.user.organisation,
        **(_model(item.model) if item.model is not None else {}),
        "registryModel": None if item.registry is None else registry_key(item.registry),
        **(_findings(event.findings) if event.findings else {}),
        "tags": event.tags,
        "source": event.source,
        **(_trace(event.trace) if event.trace is not None else {}),
    }


def _session(session: SessionRef) -> Properties:
    return {
        "sessionId": session.id,
        "userId": session.user,
        "applicationId": session.application,
        "purpose": session.purpose,
    }


def _model(model: ModelRef) -> Properties:
    return {
        "modelId": model.id,
        "modelProvider": model.provider,
        "modelVersion": model.version,
    }


def _template(template: TemplateRef) -> Properties:
    return {
        "templateId": template.id,
        "templateSource": template.source,
        "templateReproduces": template.reproduces,
    }


def _history(history: History) -> Properties:
    return {"historyMessages": history.messages, "historyHash": history.hash}


def _findings(findings: tuple[Finding, ...]) -> Properties:
    return {
        "piiEntities": entities(findings),
        "piiFindings": tuple(sorted(f"{f.entity}:{f.action}:{f.count}" for f in findings)),
    }


def _error(error: ErrorFacts) -> Properties:
    return {
        "errorCode": error.code,
        "errorMessage": error.message,
        "errorType": error.type,
        "errorRecoverable": error.recoverable,
    }


def _trace(trace: Trace) -> Properties:
    return {
        "traceId": trace.trace_id,
        "spanId": trace.span_id,
        "parentSpanId": trace.parent_span_id,
    }


def _usage(usage: UsageFacts) -> Properties:
    return {
        "promptTokens": usage.prompt_tokens,
        "completionTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
        "cachedTokens": usage.cached_tokens,
        "cacheWriteTokens": usage.cache_write_tokens,
        "reasoningTokens": usage.reasoning_tokens,
    }


def _images(images: tuple[ImageFacts, ...]) -> Properties:
    return {
        "images": len(images),
        "imageTypes": tuple(image.mime_type for image in images if image.mime_type is not None),
        "imageBytes": sum(image.size for image in images),
        "imageKeys": tuple(image.key for image in images),
        "imageUrls": tuple(image.url for image in images if image.url is not None),
    }
