"""The three queues of an installation on Kafka, over one producer."""

from __future__ import annotations

from sinks.kafka.letters import KafkaDeadLetters
from sinks.kafka.parking import KafkaParking
from sinks.kafka.producer import KafkaProducer
from sinks.kafka.requests import KafkaRequests
from sinks.kafka.settings import KafkaSettings


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

    def close(self) -> None:
        """Leaves the groups after committing what is settled."""
        self.parking.close()
        self.requests.close()
        self.letters.close()
        self._producer.close()
