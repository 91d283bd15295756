"""This node's own certificate through the years: until when it holds, and its renewal without a restart."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from dicom_node.config import SecuritySettings
from dicom_node.errors import ConfigurationError
from dicom_node.tls import load_own, server_context

log = structlog.get_logger()

RENEW_BEFORE = timedelta(days=21)
"""Said from then on: a hospital's authority takes days, not minutes; automatic ones renew 30 days before the end."""
_LOOK_EVERY_S = 60.0
_MOST_FLIGHTS = 10  # TLS 1.2 takes four


def holds_until(security: SecuritySettings) -> datetime | None:
    """The end of the certificate's validity; None where none is configured.

    Raises ConfigurationError where it cannot be read, or does not hold now.
    """
    if security.tls_certificate is None:
        return None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_own(server, security)
    shown = _shown_by(server, security.tls_certificate)
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown), UTC)


def keep_renewed(context: ssl.SSLContext, security: SecuritySettings, stop: threading.Event) -> None:
    """Until `stop`: new associations get the certificate that lies on the disk now; open ones keep theirs."""
    seen = _versions(security)
    while not stop.wait(_LOOK_EVERY_S):
        seen = renew(context, security, seen)


def renew(context: ssl.SSLContext, security: SecuritySettings, seen: tuple[int, ...]) -> tuple[int, ...]:
    """Take certificate and key anew if their files' versions are not `seen`; returns what is to be given next time.

    Two files are never replaced in one step: until they fit each other, the old pair stays in use.
    """
    now = _versions(security)
    if now == seen:
        return seen
    try:
        server_context(security)  # a live context would lose its key over a pair that does not fit
        load_own(context, security)
    except ConfigurationError as error:
        log.warning("certificate not renewed", error=str(error))
        return seen
    log.info("certificate renewed")
    return now


def _versions(security: SecuritySettings) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in _files(security))


def _files(security: SecuritySettings) -> Iterator[Path]:
    for path in (security.tls_certificate, security.tls_key):
        if path is not None:
            yield path


def _shown_by(server: ssl.SSLContext, certificate: Path) -> str:
    """notAfter as a peer sees it that trusts this certificate itself: a handshake in memory. The standard library reads
    a certificate's dates only from a connection that verified it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cafile=certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_MOST_FLIGHTS):
        try:
            if _proceeds(near):
                break
        except ssl.SSLCertVerificationError as error:
            raise ConfigurationError(f"security.tls_certificate: {certificate}: {error.verify_message}") from error
        _proceeds(far)
    return str((near.getpeercert() or {})["notAfter"])


def _proceeds(side: ssl.SSLObject) -> bool:
    """One step of the handshake; whether this side is through."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
