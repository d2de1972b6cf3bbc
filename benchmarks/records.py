"""What the pipeline makes of conversations, for those who write it without the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import events
from benchmarks.worker import WITHOUT_MODELS
from flows.keys import load_keys
from flows.pipeline import build_pipeline
from flows.settings import Settings
from flows.stores import SELECT, open_stores
from schemas.chunk import Chunk
from schemas.records import Mutation, Record, Store, VectorRecord

BATCH = 500
DIMENSIONS = 384


def mutations(texts: Sequence[str], seed: int = 0) -> list[Mutation]:
    """Of the texts' conversations, without models. Prompts and their responses come by turns, as a
    worker that is not behind gets them."""
    found: list[Mutation] = []
    with TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(**{**WITHOUT_MODELS, "worker": {"data": Path(folder)}})
        keys = load_keys(settings.data)
        with open_stores(settings, keys) as stores:
            pipeline = build_pipeline(settings, keys, stores)
            for chunk in events.chunks(texts, seed):
                for at in range(0, len(chunk.items), BATCH):
                    part = chunk.items[at : at + BATCH]
                    passed: Chunk[Any] = Chunk(chunk.partition, part, chunk.log_time)
                    for stage in pipeline.stages:
                        passed = stage(passed).passed
                    found += passed.items
    found.sort(key=lambda m: m.event.time)
    return found


def select(store: Store, part: Sequence[Mutation], dice: np.random.Generator) -> list[Record]:
    """What a store gets of some mutations; vectors are made up."""
    records = [_vector(m, dice) if store == "vector" else SELECT[store](m) for m in part]
    return [record for record in records if record is not None]


def _vector(mutation: Mutation, dice: np.random.Generator) -> VectorRecord:
    values = dice.standard_normal(DIMENSIONS).astype("<f4")
    document = mutation.document
    metadata = {k: document.fields[k] for k in ("kind", "session", "user") if k in document.fields}
    unit = (values / np.linalg.norm(values)).astype("<f4").tobytes()
    return VectorRecord(document.stamp, unit, "bench", document.stamp.sha256, metadata)
