"""The routes: which address shows what, and the three things that a page may ask for (retry, cancel, confirm)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dicom_node import metrics, version
from dicom_node.audit import RESTRICTED_FUNCTION, person, trail_of
from dicom_node.errors import NodeError, UnknownJobError
from dicom_node.web import pages, words
from dicom_node.web.guard import Guard
from dicom_node.web.site import Site
from dicom_node.wishes import Deed, Wish

log = structlog.get_logger()

MOST_FORM_BYTES = 4096
LONGEST_NAME = 64
STATIC = Path(__file__).parent / "static"


def application(site: Site) -> Starlette:
    """The web application over one node's state."""
    handlers = _Handlers(site)
    return Starlette(
        routes=[
            Route("/", handlers.operations),
            Route("/board", handlers.board),
            Route("/jobs/{job}", handlers.job),
            Route("/jobs/{job}/progress", handlers.progress),
            Route("/jobs/{job}/pictures/{file}", handlers.picture),
            Route("/jobs/{job}/provisional.png", handlers.provisional),
            Route("/jobs/{job}/retry", handlers.retry, methods=["POST"]),
            Route("/jobs/{job}/cancel", handlers.cancel, methods=["POST"]),
            Route("/jobs/{job}/confirm", handlers.confirm, methods=["POST"]),
            Route("/healthz", handlers.health),
            Route("/readyz", handlers.ready),
            Route("/metrics", handlers.metrics),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, host=site.settings.web.host)],
        exception_handlers={NodeError: handlers.node_error, HTTPException: handlers.http_error},
    )


def templates() -> Environment:
    """The page templates: everything escaped, a missing name is an error."""
    environment = Environment(
        loader=PackageLoader("dicom_node.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("local_time", "scanner_time", "duration", "number", "unit", "state", "plural"):
        environment.filters[name] = getattr(words, name)
    return environment


def reader_name(form: bytes) -> str:
    """The name in the confirmation's form (application/x-www-form-urlencoded); "" where none is legible."""
    (given, *_) = parse_qs(form.decode("ascii", "replace")).get("reader", [""])
    name = " ".join(given.split())
    return name if name.isprintable() and len(name) <= LONGEST_NAME else ""


class _Handlers:
    """One method an address. Starlette runs them in worker threads: they read the disk."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._templates = templates()

    def operations(self, request: Request) -> Response:
        return self._page("operations.html", pages.operations(self._site, request.query_params))

    def board(self, request: Request) -> Response:
        return self._page("board.html", pages.operations(self._site, request.query_params))

    def job(self, request: Request) -> Response:
        return self._page("job.html", pages.job(self._site, request.path_params["job"]))

    def progress(self, request: Request) -> Response:
        return self._page("job_body.html", pages.job(self._site, request.path_params["job"]))

    def picture(self, request: Request) -> Response:
        folder = pages.result_folder(self._site, request.path_params["job"])
        file = request.path_params["file"]
        if file not in pages.pictures(folder):
            raise HTTPException(404)
        return FileResponse(folder / file, media_type="image/png")

    def provisional(self, request: Request) -> Response:
        try:
            picture = pages.provisional(self._site, request.path_params["job"]).read_bytes()
        except FileNotFoundError:
            raise HTTPException(404) from None
        return Response(picture, media_type="image/png", headers={"Cache-Control": "no-store"})

    def retry(self, request: Request) -> Response:
        return self._ask(request, "retry")

    def cancel(self, request: Request) -> Response:
        return self._ask(request, "cancel")

    async def confirm(self, request: Request) -> Response:
        """A reader says that the lesion is the baseline's, under his name: there is no login that would know it."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_FORM_BYTES:
                raise HTTPException(413)
        reader = reader_name(body)
        if not reader:
            raise HTTPException(400, "A lesion match is confirmed under the reader's name: go back and give it.")
        return await run_in_threadpool(self._ask, request, "confirm", reader)

    def _ask(self, request: Request, deed: Deed, by: str = "") -> Response:
        wish = Wish(request.path_params["job"], deed, by)
        self._site.ask(wish)
        log.info("asked for on the page", deed=wish.deed, job=wish.job)
        visitor = person(request.client.host if request.client else "unknown", by)
        trail = trail_of(self._site.settings, "web")
        trail.alert(RESTRICTED_FUNCTION, f"{deed} asked for on the page", visitor, ("job", wish.job), failed=False)
        return RedirectResponse(f"/jobs/{wish.job}", status_code=303)

    async def health(self, _request: Request) -> Response:
        """This process lives; says nothing of the others."""
        return JSONResponse({"status": "alive", "version": version.SOFTWARE_VERSION})

    def ready(self, _request: Request) -> Response:
        readiness = self._site.view().readiness
        parts = {part.name: {"ready": part.ready, "text": part.text} for part in readiness.parts}
        body = {"ready": readiness.ready, "reasons": list(readiness.reasons), "parts": parts}
        return JSONResponse(body, status_code=200 if readiness.ready else 503)

    def metrics(self, _request: Request) -> Response:
        view = self._site.view()
        body = self._site.metrics.render(view.board, view.readiness)
        return Response(body, headers={"Content-Type": metrics.CONTENT_TYPE})

    def node_error(self, _request: Request, error: Exception) -> Response:
        status = 404 if isinstance(error, UnknownJobError) else 500
        return self._page("error.html", {**pages.frame(self._site), "sentence": str(error)}, status)

    def http_error(self, _request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        sentence = "There is no such page." if status == 404 else "That is not offered here."
        if isinstance(error, HTTPException) and status == 400:
            sentence = error.detail
        return self._page("error.html", {**pages.frame(self._site), "sentence": sentence}, status)

    def _page(self, template: str, content: dict[str, Any], status: int = 200) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(content), status_code=status)
