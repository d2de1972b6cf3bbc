"""Dead letters, parked records and enrichment requests in Kafka topics."""
