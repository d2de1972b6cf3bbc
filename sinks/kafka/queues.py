"""The three queues of an installation on Kafka, over one producer."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.events import TOPICS
from schemas.records import STORES
from sinks.kafka.letters import KafkaDeadLetters
from sinks.kafka.parking import KafkaParking
from sinks.kafka.producer import KafkaProducer
from sinks.kafka.requests import KafkaRequests
from sinks.kafka.settings import KafkaSettings
from sinks.kafka.topics import ENRICHMENT, dead_letters, reconciliation


class KafkaQueues:
    """Dead letters, the records that stores owe, and the events that lack something.

    What they hold is sealed with ``key`` (32 bytes); None: ``[dlq] plaintext``. Connects at the
    first use.
    """

    def __init__(self, settings: KafkaSettings, key: bytes | None) -> None:
        self._producer = KafkaProducer(settings)
        self.letters = KafkaDeadLetters(settings, self._producer, key)
        self.parking = KafkaParking(settings, self._producer, self.letters, key)
        self.requests = KafkaRequests(settings, self._producer, key)

    def init(self) -> Sequence[str]:
        """Nothing: ``memory-graph topics create`` makes the topics, which need a decision on how
        many copies there are to be."""
        return ()

    def check(self) -> None:
        """Raises UserError where a topic of the queues is missing, and Unavailable."""
        twins = [dead_letters(topic) for topic in TOPICS]
        self._producer.check([*twins, *map(reconciliation, STORES), ENRICHMENT])

    def size(self) -> int | None:
        """Not told: the brokers keep more than this."""
        return None

    def close(self) -> None:
        """Leaves the groups after committing what is settled."""
        self.parking.close()
        self.requests.close()
        self.letters.close()
        self._producer.close()
