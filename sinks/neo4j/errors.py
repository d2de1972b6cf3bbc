"""What an error of the driver or the server means for us, by class and code, never by its text."""

from __future__ import annotations

import ssl

from neo4j.exceptions import (
    ConfigurationError,
    ConnectionAcquisitionTimeoutError,
    Neo4jError,
)

from schemas.ports import Unavailable

AGAIN = frozenset({"deadlock", "outdated", "gone", "constraint"})
"""Codes of conflicts between writers: tried again at once, on the spot."""
REFUSED = "refused_value"
"""The code of a value that the database does not hold: it never will."""
SERVER = "server_error"
"""The code of a failure that Neo4j has no name for: its own, or that of what it was given."""
SLOW = frozenset({"timeout", "too_slow"})
"""Codes of transactions that ran out of time; ``too_slow`` is what the server says of itself."""
APART = frozenset({REFUSED, "out_of_memory", SERVER})
"""Codes of what may be one record's fault, or that of too many at once: they are tried apart."""

_CODES = {
    "Neo.TransientError.Transaction.DeadlockDetected": "deadlock",
    "Neo.TransientError.Transaction.Outdated": "outdated",
    "Neo.TransientError.Transaction.ConstraintsChanged": "outdated",
    "Neo.TransientError.Transaction.BookmarkTimeout": "timeout",
    "Neo.TransientError.Transaction.LockAcquisitionTimeout": "timeout",
    "Neo.ClientError.Transaction.LockAcquisitionTimeout": "timeout",
    "Neo.ClientError.Transaction.TransactionTimedOut": "too_slow",
    "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration": "too_slow",
    "Neo.TransientError.Transaction.LockClientStopped": "terminated",
    "Neo.TransientError.Transaction.Terminated": "terminated",
    "Neo.ClientError.Transaction.Terminated": "terminated",
    "Neo.TransientError.Transaction.MaximumTransactionLimitReached": "too_busy",
    "Neo.TransientError.Request.NoThreadsAvailable": "too_busy",
    "Neo.TransientError.Request.ResourceExhaustion": "too_busy",
    "Neo.TransientError.General.OutOfMemoryError": "out_of_memory",
    "Neo.TransientError.General.StackOverFlowError": "out_of_memory",
    "Neo.TransientError.General.MemoryPoolOutOfMemoryError": "out_of_memory",
    "Neo.TransientError.General.TransactionOutOfMemoryError": "out_of_memory",
    "Neo.TransientError.General.DatabaseUnavailable": "database_unavailable",
    "Neo.TransientError.Database.DatabaseUnavailable": "database_unavailable",
    "Neo.ClientError.Database.DatabaseNotFound": "no_database",
    "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase": "read_only",
    "Neo.ClientError.General.WriteOnReadOnlyAccessDatabase": "read_only",
    "Neo.ClientError.Cluster.NotALeader": "not_a_leader",
    "Neo.ClientError.Statement.EntityNotFound": "gone",
    "Neo.ClientError.Statement.ArgumentError": "refused_value",
    "Neo.ClientError.Statement.ArithmeticError": "refused_value",
    "Neo.ClientError.Statement.TypeError": "refused_value",
    "Neo.ClientError.Schema.ConstraintValidationFailed": "constraint",
    "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists": "constraint",
    "Neo.ClientError.Security.AuthenticationRateLimit": "auth_limit",
    "Neo.ClientError.Security.Forbidden": "forbidden",
}
_GROUPS = (
    ("Neo.ClientError.Security.", "auth"),
    ("Neo.TransientError.", "transient"),
    ("Neo.ClientError.Statement.", "bad_statement"),
)


def translate(error: BaseException) -> Unavailable:
    """Our exception for one of the driver's or the socket's, without its message."""
    return Unavailable("graph", _code(error))


def _code(error: BaseException) -> str:
    if isinstance(error, Neo4jError):
        code = error.code or ""
        known = _CODES.get(code)
        if known is not None:
            return known
        return next((ours for start, ours in _GROUPS if code.startswith(start)), "server_error")
    if isinstance(error, ConnectionAcquisitionTimeoutError):
        return "pool_exhausted"
    if isinstance(error, ConfigurationError):
        return "bad_settings"
    for cause in _causes(error):
        for kind, code in _CAUSES:
            if isinstance(cause, kind):
                return code
    return "disconnected"


_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "refused"),
    (TimeoutError, "timeout"),
    (ssl.SSLError, "tls"),
)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it; the driver wraps the socket's errors."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found
