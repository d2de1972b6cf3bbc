"""The stages: the work on a chunk, usable without a dataflow engine."""
