"""The dataflows: assembly, sources, delivery, settings, and the command line."""
