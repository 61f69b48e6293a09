"""What the server is, whether it can do its work, its figures, and the page that people see."""

import asyncio
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ostinato.errors import SchemaError, StoreUnavailableError
from ostinato.link import PROTOCOL
from ostinato.runtime.session import version
from ostinato.server import shapes
from ostinato.server.asking import Here, Viewer, refusals, reply

router = APIRouter(tags=["server"])
_FILES = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_SOON = 3.0
"""Seconds in which a server that can do its work hears from its database."""
_PAGE = Path(__file__).parent.parent / "page"
_ONLY_OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/api/info", response_model=shapes.Info, responses=refusals())
async def get_info(served: Here, who: Viewer) -> Response:
    """Say what this server is."""
    info = await served.call(served.store.info)
    return reply(
        {
            "name": served.name,
            "version": version(),
            "protocol": PROTOCOL,
            "dialect": info.dialect,
            "revision": info.revision,
            "open": served.is_open,
            "you": who.name,
            "role": who.role,
        }
    )


@router.get("/api/health", response_model=shapes.Health)
async def get_health() -> Response:
    """Say that the server runs."""
    return reply({"status": "ok"})


@router.get(
    "/api/ready",
    response_model=shapes.Health,
    responses={503: refusals(503)[503]},
)
async def get_readiness(request: Request, served: Here) -> Response:
    """Say whether the server can do its work: the database answers, and soon, and has the right schema."""
    state = request.app.state
    if not hasattr(state, "looking") or state.looking.done():  # one look at a time: it may wait for the database
        state.looking = asyncio.ensure_future(served.call(served.store.info))
        state.looking.add_done_callback(lambda looked: looked.cancelled() or looked.exception())
    try:
        info = await asyncio.wait_for(asyncio.shield(state.looking), _SOON)
    except TimeoutError:
        raise StoreUnavailableError(
            f"The database has not answered for {_SOON:.0f} s. Look whether it runs, and whether OSTINATO_DATABASE of "
            "the server names it rightly."
        ) from None
    if info.revision != info.head:
        raise SchemaError(
            f"The database's schema is {info.revision}, this version's {info.head}: run `ostinato db upgrade`."
        )
    return reply({"status": "ok"})


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request, served: Here, _who: Viewer) -> Response:
    """Write the figures for Prometheus."""
    text = await served.call(lambda: request.app.state.metrics.text(served.store))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/", include_in_schema=False)
async def get_page(request: Request) -> Response:
    """Give the page."""
    return _file(request, "")


@router.get("/page/{name}", include_in_schema=False)
async def get_page_file(request: Request, name: str) -> Response:
    """Give what the page is made of."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    if name not in _FILES:
        return Response(status_code=404)
    file, media_type = _FILES[name]
    data = (_PAGE / file).read_bytes()
    mark = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    headers = {
        "ETag": mark,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _ONLY_OURS,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)
