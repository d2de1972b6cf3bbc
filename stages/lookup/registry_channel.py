"""The connection to the registry: TLS, pings and pauses, and what its failures are called."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc

from schemas.failures import UserError
from stages.lookup.settings import LookupSettings

CODES: Final = {
    grpc.StatusCode.UNAVAILABLE: "unreachable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
    grpc.StatusCode.PERMISSION_DENIED: "forbidden",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "rate_limited",
    grpc.StatusCode.UNIMPLEMENTED: "unimplemented",
}
_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    # Servers end connections that are pinged more often than every five minutes.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 64 << 20),
)


def code_of(error: grpc.RpcError) -> str:
    """Of ours: no message of the registry or the library is passed on."""
    code: Callable[[], grpc.StatusCode] | None = getattr(error, "code", None)
    status = grpc.StatusCode.UNKNOWN if code is None else code()
    return CODES.get(status, f"grpc_{status.name.lower()}")


def open_channel(settings: LookupSettings) -> grpc.Channel:
    """Raises UserError for a CA file or a token that cannot be used."""
    address = settings.registry_address
    if settings.registry_plaintext:
        return grpc.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(_roots(settings.registry_ca))
    token = settings.registry_token.get_secret_value()
    if token:
        credentials = grpc.composite_channel_credentials(
            credentials, grpc.access_token_call_credentials(token)
        )
    return grpc.secure_channel(address, credentials, options=_OPTIONS)


def _roots(ca: Path | None) -> bytes | None:
    """The given authorities, else the system's; None leaves it to gRPC's own list."""
    try:
        if ca is not None:
            return ca.read_bytes()
        system = ssl.get_default_verify_paths().cafile
        return Path(system).read_bytes() if system else None
    except OSError:
        if ca is not None:
            raise UserError(f"lookup.registry_ca: {ca} cannot be read.") from None
        return None
