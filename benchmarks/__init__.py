"""Measured claims; each module prints JSON."""
