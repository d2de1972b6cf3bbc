"""Full text in Elasticsearch."""
