"""Stage 3: the main text normalised, its language and its tokens."""

from __future__ import annotations

from schemas.chunk import Chunk, Outcome
from schemas.events import Model, PromptEvent, ResponseEvent
from schemas.items import Decoded, Measured, TextFacts
from stages.text.language import UNDETERMINED, detect_language
from stages.text.normal import normalise
from stages.text.tokens import TokenCount, count_tokens

NO_COUNT = TokenCount(0, "none")


def measure(decoded: Decoded) -> Measured:
    """Prompts and responses measured on their normalised text; sessions have none.

    A response's tokens are its provider's ``completionTokens`` where there is a usage; every other
    count is ours and says with which encoding.
    """
    event = decoded.event
    if isinstance(event, PromptEvent):
        text = normalise(event.prompt.text)
        return Measured(decoded, text, _facts(text, _count(text, event.model)))
    if isinstance(event, ResponseEvent):
        raw = event.response.text
        response = None if raw is None else normalise(raw)
        if event.usage is not None:
            tokens = TokenCount(event.usage.completion_tokens, "provider")
        else:
            tokens = NO_COUNT if response is None else _count(response, event.model)
        return Measured(decoded, response, _facts(response or "", tokens))
    return Measured(decoded, None, TextFacts())


def _count(text: str, model: Model | None) -> TokenCount:
    if model is None:
        return count_tokens(text, None, None)
    return count_tokens(text, model.id, model.provider)


def _facts(text: str, tokens: TokenCount) -> TextFacts:
    language = detect_language(text) if text else UNDETERMINED
    return TextFacts(language.code, language.confidence, tokens.tokens, tokens.source, len(text))


class TextStage:
    """Measures every event of a chunk; rejects none.

    Making one raises :class:`~stages.text.encodings.EncodingUnavailable` where no tokenizer is
    installed.
    """

    name = "text"

    def __init__(self) -> None:
        # A missing tokenizer shows at the start, not at the first event.
        count_tokens("", None, None)

    def __call__(self, chunk: Chunk[Decoded], /) -> Outcome[Measured]:
        measured = [measure(decoded) for decoded in chunk.items]
        return Outcome(Chunk(chunk.partition, measured, chunk.log_time))
