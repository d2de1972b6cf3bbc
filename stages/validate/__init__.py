"""Stage 1: bytes of the log to typed events, or to a rejection that says why."""

from stages.validate.codes import CODES
from stages.validate.settings import ValidateSettings
from stages.validate.stage import Validate

__all__ = ["CODES", "Validate", "ValidateSettings"]
