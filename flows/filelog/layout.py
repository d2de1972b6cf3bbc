"""Where a file log keeps what: ``<dir>/<topic>/<partition>/<base offset>.jsonl``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from flows.filelog.errors import NotALog
from schemas.log import Partition

FORMAT = 1
PARTITIONS = {"llm.prompts.v1": 12, "llm.responses.v1": 12, "llm.sessions.v1": 4}
"""Partitions of each topic, fixed when the topic is made (specification, *Kafka topics*)."""


class Topic(msgspec.Struct, frozen=True):
    """``topic.json``: what is fixed for the life of a topic."""

    partitions: int
    format: int = FORMAT


def segment_path(log_dir: Path, partition: Partition, base: int) -> Path:
    return log_dir / partition.topic / str(partition.number) / f"{base:020d}.jsonl"


def segment_bases(log_dir: Path, partition: Partition) -> list[int]:
    """The base offsets of a partition's segments, ascending; empty when it has none yet."""
    folder = log_dir / partition.topic / str(partition.number)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(n[:-6]) for n in names if n.endswith(".jsonl") and n[:-6].isdigit())


def read_topic(log_dir: Path, topic: str) -> Topic | None:
    """The topic's fixed properties, or None when it does not exist."""
    path = log_dir / topic / "topic.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Topic)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        raise NotALog(
            f'{path} is not a topic description: expected {{"partitions": N, "format": 1}}'
        ) from None
    if found.format > FORMAT:
        raise NotALog(
            f"{path} has format {found.format}; this version reads up to {FORMAT}. Use a newer "
            "version of memory-graph."
        )
    if found.partitions < 1:
        raise NotALog(f"{path}: partitions must be at least 1")
    return found


def create_topic(log_dir: Path, topic: str) -> Topic:
    """The topic, made if it does not exist. The caller holds the append lock."""
    found = read_topic(log_dir, topic)
    if found is not None:
        return found
    made = Topic(PARTITIONS.get(topic, 1))
    folder = log_dir / topic
    folder.mkdir(0o750, exist_ok=True)
    temporary = folder / "topic.json.new"
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(made) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / "topic.json")
    sync_folder(folder)
    sync_folder(log_dir)
    return made


def partitions_of(log_dir: Path, topics: tuple[str, ...]) -> list[Partition]:
    """Every partition of those of ``topics`` that exist."""
    found = []
    for name in topics:
        topic = read_topic(log_dir, name)
        if topic is not None:
            found += [Partition(name, n) for n in range(topic.partitions)]
    return found


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
