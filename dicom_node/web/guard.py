"""What every answer and every request of the web role must satisfy: headers, host and origin.

The page has no login of its own (it listens on loopback); what it must withstand is another web page, open in the same
browser, that sends requests to it or dresses up its own name as this host (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Everything from this server, nothing inline, nothing evaluated, no frame (Content Security Policy Level 3)."""

SAFE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make the Origin of our own forms "null" (Fetch, 3.2)
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Middleware that refuses foreign hosts and foreign writes and puts the safe headers on every answer."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        own = {"localhost", host, socket.gethostname(), socket.getfqdn()}
        self._names = frozenset(name.casefold() for name in own if name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SAFE_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = self._app if refusal is None else refusal
        await answer(scope, receive, send_safely)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse("this server does not go by that name\n", status_code=421)
        if method in ("GET", "HEAD") or _same_origin(host, headers):
            return None
        if method == "POST":
            return PlainTextResponse("only this server's own pages may ask for that\n", status_code=403)
        return PlainTextResponse("not offered\n", status_code=405)

    def _is_ours(self, host: str) -> bool:
        """An address cannot be rebound, so every address is fine; a name must be one of this machine's."""
        name = urlsplit(f"//{host}").hostname or ""
        return name.casefold() in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(host: str, headers: Headers) -> bool:
    """Whether a page of this server sent it: Sec-Fetch-Site where the browser says it (all do since 2023), which also
    holds behind a proxy that renames the host; else Origin against Host. Neither given: no browser's form, refused."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == host
