"""all-MiniLM-L6-v2 on the CPU: texts in, unit vectors out."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.failures import UserError
from stages.embed.model_files import MODEL_ID, TOKENIZER, WEIGHTS, model_directory, verify
from stages.embed.network import HIDDEN, build
from stages.embed.settings import EmbedSettings, Precision

MAX_TOKENS = 256
MAX_CHARACTERS = 8_192
"""What lies behind is not read: words of ordinary text fill 256 tokens long before."""
PADDING_STEP = 32

Vectors = npt.NDArray[np.float32]
Tokens = Sequence[int]


class PrecisionUnsupported(UserError):
    """``[embed] precision = "bf16"`` on a CPU without bf16 arithmetic."""

    def __init__(self) -> None:
        super().__init__(
            'This CPU has no bf16 arithmetic. Set `[embed] precision` to "auto" or "f32".'
        )


def padded_length(tokens: int) -> int:
    """The number of tokens, rounded up to a multiple of 32."""
    return -(-tokens // PADDING_STEP) * PADDING_STEP


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of at most ``size`` texts that share one padded length, shortest first."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        groups[padded_length(length)].append(index)
    for _, group in sorted(groups.items()):
        for start in range(0, len(group), size):
            yield group[start : start + size]


class Encoder:
    """The local encoder; satisfies :class:`schemas.ports.Embedder`.

    A vector is a function of its text alone: each text is padded to its own length rounded up to
    32, so neither the batch nor its size changes a bit. Runs of whitespace count as one blank, the
    first 8,192 characters and of them the first 256 tokens are read. Holds one inference request:
    one worker, one encoder; concurrent calls raise.
    """

    model_id = MODEL_ID
    model = MODEL_ID
    dimensions = HIDDEN

    def __init__(
        self, settings: EmbedSettings | None = None, directory: Path | None = None
    ) -> None:
        """Loads, verifies and compiles in about half a second.

        Raises :class:`~stages.embed.model_files.ModelUnavailable` or
        :class:`PrecisionUnsupported`.
        """
        settings = settings or EmbedSettings()
        directory = directory or model_directory()
        verify(directory)
        self._batch_size = settings.batch_size
        self._tokenizer = _load_tokenizer(directory / TOKENIZER, settings.threads)
        self.precision, self._request = _compile(
            directory / WEIGHTS, settings.precision, settings.threads
        )

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(n, 384) float32 of unit length, in the order of the texts."""
        tokens = self.tokenize(texts)
        vectors = np.empty((len(texts), HIDDEN), np.float32)
        for batch in batches([len(ids) for ids in tokens], self._batch_size):
            vectors[batch] = self._run([tokens[index] for index in batch])
        return vectors

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """As :meth:`encode`; each vector as 1,536 bytes of little-endian float32."""
        return [row.tobytes() for row in self.encode(texts).astype("<f4", copy=False)]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with ``[CLS]`` and ``[SEP]``, at most 256, without padding."""
        read = [" ".join(text.split())[:MAX_CHARACTERS] for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(read)]

    def _run(self, tokens: Sequence[Tokens]) -> Any:
        """The request's own output memory: the caller copies it before the next run."""
        width = padded_length(len(tokens[0]))
        ids = np.zeros((len(tokens), width), np.int64)
        mask = np.zeros((len(tokens), width), np.int64)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return self._request.infer([ids, mask], share_inputs=True, share_outputs=True)[0]


def _load_tokenizer(path: Path, threads: int) -> Any:
    # The library's own pool would otherwise take every core; it reads this once, at first use.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if threads == 1 else "true")
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


@cache
def _core() -> Any:
    """One for the process, never freed: its plugin gives the thread that makes it a signal stack,
    and takes the memory away when another thread frees it; the next signal then kills the process.
    """
    import openvino

    return openvino.Core()


def _compile(weights: Path, precision: Precision, threads: int) -> tuple[str, Any]:
    """The precision that was chosen, and an inference request of the compiled network."""
    from safetensors.numpy import load_file

    core = _core()
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise PrecisionUnsupported
    chosen = "bf16" if has_bf16 and precision != "f32" else "f32"
    compiled = core.compile_model(
        build(load_file(weights)),
        "CPU",
        {
            # Always explicit: the default differs from machine to machine.
            "INFERENCE_PRECISION_HINT": chosen,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        },
    )
    return chosen, compiled.create_infer_request()
