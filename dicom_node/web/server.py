"""The web role's server: uvicorn in a thread of its own, until the role is told to stop."""

from __future__ import annotations

import ipaddress
import socket
import threading

import structlog
import uvicorn

from dicom_node.config import Settings
from dicom_node.errors import PortInUseError
from dicom_node.web.application import application
from dicom_node.web.site import Site

log = structlog.get_logger()

GRACE_S = 2


def serve(settings: Settings, stop: threading.Event) -> None:
    """Serve the pages until `stop` is set. Raises PortInUseError."""
    with listening_socket(settings.web.host, settings.web.port) as listener:
        serve_on(listener, settings, stop)


def serve_on(listener: socket.socket, settings: Settings, stop: threading.Event) -> None:
    """Serve on a socket that listens already (a test's free port, or the service manager's)."""
    site = Site(settings)
    config = uvicorn.Config(
        application(site),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    # Only the main thread's server would take the signals; they are the role's.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web server")
    thread.start()
    host, port = listener.getsockname()[:2]
    log.info("serving pages", address=f"http://{_in_url(host)}:{port}/")
    if not _is_loopback(host):
        log.warning("the pages are open to the network and have no login: put a proxy with one in front", host=host)
    try:
        stop.wait()
    finally:
        server.should_exit = True
        thread.join()
        site.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises PortInUseError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortInUseError(f"the pages cannot listen on {host}:{port} ([web] port): {error.strerror}") from error
    return listener


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
