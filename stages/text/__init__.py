"""Stage 3, text: normal form, language and tokens; and hashes and templates of screened text."""

from __future__ import annotations

from stages.text.encodings import EncodingUnavailable
from stages.text.language import Language, detect_language
from stages.text.normal import collapse, normalise, text_hash
from stages.text.stage import TextStage, measure
from stages.text.template import derive_template, fill, reproduces, template_id
from stages.text.tokens import TokenCount, choose_encoding, count_tokens

__all__ = [
    "EncodingUnavailable",
    "Language",
    "TextStage",
    "TokenCount",
    "choose_encoding",
    "collapse",
    "count_tokens",
    "derive_template",
    "detect_language",
    "fill",
    "measure",
    "normalise",
    "reproduces",
    "template_id",
    "text_hash",
]
