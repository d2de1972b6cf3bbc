"""Embedders other than the local encoder: services over HTTP, and sentence-transformers."""
