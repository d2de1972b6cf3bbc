"""Trains and scores the shipped name recogniser: ``python -m stages.pii.detect.train_ner``.

Needs the development dependencies (Faker) and the public corpora, whose folder is an argument.
"""
