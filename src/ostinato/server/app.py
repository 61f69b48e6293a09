"""The server as an ASGI app: routes behind a gate, and what lives as long as it does.

```
Gate (who may, how large, counted) ─► /api/…           one noun a file, in routes/
                                   ├► /api/store/…     the store for workers and runs, in journal.py
                                   ├► /metrics
                                   └► /                the page
```
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from ostinato.runtime.session import version
from ostinato.server import journal
from ostinato.server.access import Doorkeeper
from ostinato.server.gate import Gate
from ostinato.server.metrics import Metrics
from ostinato.server.problems import add_problems
from ostinato.server.routes import (
    about,
    accounts,
    asks,
    automations,
    deployments,
    events,
    limits,
    pools,
    runs,
    schedules,
    sensors,
    webhooks,
)
from ostinato.server.shapes import Event, Problem
from ostinato.server.stream import Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from fastapi.routing import APIRoute

    from ostinato.server.served import Served

_DESCRIPTION = """Runs, deployments, work pools and workers of Ostinato.

Lists come in pages: give `next` as `cursor` for the following one. Instants are RFC 3339 in UTC. Errors are
application/problem+json. Show a token as `Authorization: Bearer ost_…` unless the server is open."""


def make_app(served: Served, *, loops: Callable[[Metrics], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    """Make the app of a server.

    Args:
        served: The server.
        loops: What runs beside the routes for as long as the app does, given where to count.
    """
    metrics = Metrics()
    doorkeeper = Doorkeeper(served)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        served.bind()
        if loops is None:
            yield
            return
        async with loops(metrics):
            yield

    app = FastAPI(
        title="Ostinato",
        version=version(),
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        generate_unique_id_function=_operation,
        redirect_slashes=False,
    )
    app.state.served = served
    app.state.metrics = metrics
    app.state.doorkeeper = doorkeeper
    app.state.feed = Feed(served, metrics)
    add_problems(app)
    for router in (
        *(runs.router, deployments.deployments, deployments.projects, pools.pools, pools.workers),
        *(schedules.router, schedules.ticks, sensors.router, automations.router, automations.firings),
        limits.router,
        *(events.router, asks.router, webhooks.router, accounts.users, accounts.tokens, about.router),
    ):
        app.include_router(router)
    app.router.routes[:0] = journal.routes()  # first, for each route before them costs the hot path 4 µs
    app.add_middleware(Gate, served=served, doorkeeper=doorkeeper, metrics=metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to change it
    return app


def _operation(route: APIRoute) -> str:
    """Name an operation as its function, in the way of JavaScript: the front end's client has these names."""
    first, *rest = route.name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Make the document, with what FastAPI cannot know: tokens, the shape of problems and of streamed events."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        parts = document.setdefault("components", {})
        for model in (Problem, Event):
            parts["schemas"].setdefault(
                model.__name__, model.model_json_schema(ref_template="#/components/schemas/{model}")
            )
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "ost_…"}}
        document["security"] = [{"token": []}, {}]
        app.openapi_schema = document
    return app.openapi_schema
