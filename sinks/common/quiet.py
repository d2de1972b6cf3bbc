"""Libraries whose loggers print addresses, bodies and values keep silent."""

from __future__ import annotations

import logging


def quiet(*names: str) -> None:
    """Lets nothing of these loggers and their children reach a handler."""
    for name in names:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
