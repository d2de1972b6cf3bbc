"""Stage 7: the records of the four stores are made of an event; docs/graph.md is its contract."""

from stages.extract.stage import ExtractStage, digest, mutation_of

__all__ = ["ExtractStage", "digest", "mutation_of"]
