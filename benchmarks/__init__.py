"""Measured claims: each benchmark compares what is built here with a baseline, in one run.

``python -m benchmarks [NAME…]``; a benchmark is a module in :data:`benchmarks.readme.BENCHMARKS`
with ``measure(corpus) -> dict`` and ``table(result) -> str`` (Markdown).
"""
