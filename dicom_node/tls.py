"""TLS contexts from the configuration: the BCP 195 profile (PS3.15 B.12), TLS 1.2 and 1.3 with forward secrecy only.

A destination that is configured with TLS is never called without it.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from dicom_node.config import DestinationSettings, SecuritySettings, Settings
from dicom_node.errors import ConfigurationError
from dicom_node.transport.requestor import RemoteNode

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"  # RFC 9325 4.2: authenticated encryption with forward secrecy


def server_context(security: SecuritySettings) -> ssl.SSLContext | None:
    """For the TLS port; None where no certificate is configured. With `tls_ca` peers must show a certificate.

    Raises ConfigurationError naming the key whose file cannot be used.
    """
    if security.tls_certificate is None:
        return None
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    load_own(context, security)
    if security.tls_ca is not None:
        _load_ca(context, security.tls_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(security: SecuritySettings) -> ssl.SSLContext:
    """For destinations: their certificate and name are checked, against `tls_ca` or else the system's authorities; our
    own certificate is shown where one is configured.

    Raises ConfigurationError naming the key whose file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if security.tls_ca is not None:
        _load_ca(context, security.tls_ca)
    else:
        context.load_default_certs()
    if security.tls_certificate is not None:
        load_own(context, security)
    return context


def remote_node(settings: Settings, destination: DestinationSettings) -> RemoteNode:
    """A destination as the network side calls it. Raises ConfigurationError where its TLS cannot be set up."""
    context = client_context(settings.security) if destination.tls else None
    return RemoteNode(destination.ae_title, destination.host, destination.port, context)


def load_own(context: ssl.SSLContext, security: SecuritySettings) -> None:
    """Our certificate and key into a context. Raises ConfigurationError."""
    try:
        context.load_cert_chain(str(security.tls_certificate), security.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"security.tls_certificate, security.tls_key: {error}") from error


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"security.tls_ca: {path}: {error}") from error
