"""The file log: a folder of JSON-lines segments per topic and partition, with Kafka's semantics."""

from flows.filelog.append import Appended, append_events
from flows.filelog.ends import LogEnds, log_ends
from flows.filelog.errors import LineDamaged, LogError, LogGap, LogShrank, NotALog
from flows.filelog.layout import PARTITIONS, partitions_of
from flows.filelog.lines import NewRecord
from flows.filelog.murmur2 import murmur2, partition_of
from flows.filelog.reader import START, PartitionReader, Position
from flows.filelog.retention import remove_consumed
from flows.filelog.writer import SEGMENT_BYTES, LogWriter, create_topics

__all__ = [
    "PARTITIONS",
    "SEGMENT_BYTES",
    "START",
    "Appended",
    "LineDamaged",
    "LogEnds",
    "LogError",
    "LogGap",
    "LogShrank",
    "LogWriter",
    "NewRecord",
    "NotALog",
    "PartitionReader",
    "Position",
    "append_events",
    "create_topics",
    "log_ends",
    "murmur2",
    "partition_of",
    "partitions_of",
    "remove_consumed",
]
