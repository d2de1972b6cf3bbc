"""What a person looks up: conversations, hits, neighbours, usage, the worker's status."""
