"""The command line: ``memory-graph``."""

from flows.cli.app import main

__all__ = ["main"]
