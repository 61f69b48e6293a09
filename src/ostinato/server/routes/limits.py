"""Limits: how full they are, who holds them, who waits; and what somebody declares of them by hand."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from ostinato.runtime.limited import changed_limit, limit_shape, limit_shapes
from ostinato.server import shapes_limits as shapes
from ostinato.server.asking import Here, Limit, Operator, Viewer, note, refusals, reply

router = APIRouter(prefix="/api/limits", tags=["limits"], responses=refusals())
LimitName = Annotated[str, Path(min_length=1, max_length=300, description="The limit's name, or a gate's: db[acme].")]


@router.get("", response_model=list[shapes.Gate])
async def list_limits(served: Here, _who: Viewer) -> Response:
    """List limits, each of their keys for itself."""
    return await served.call(lambda: reply(limit_shapes(served.store)))


@router.get("/{name:path}", response_model=shapes.Limit, responses=refusals(404))
async def get_limit(served: Here, _who: Viewer, name: LimitName, limit: Limit = 100) -> Response:
    """Show who holds a limit and who waits for it."""
    return await served.call(lambda: reply(limit_shape(served.store, name, limit=limit)))


@router.put("/{name:path}", status_code=204, responses=refusals(404))
async def put_limit(served: Here, who: Operator, name: LimitName, change: shapes.LimitChange) -> Response:
    """Declare a limit by hand; who waits is let in at once as far as there is room."""

    def work() -> Response:
        served.store.put_limit(changed_limit(served.store, name, **change.model_dump()))
        note(served, who, "limit_changed", name, more=change.model_dump())
        return Response(status_code=204)

    return await served.call(work)


@router.delete("/{name:path}", status_code=204, responses=refusals(404))
async def remove_limit(served: Here, who: Operator, name: LimitName) -> Response:
    """Forget what was declared of a limit by hand: what code says holds again."""

    def work() -> Response:
        served.store.remove_limit(name)
        note(served, who, "limit_removed", name)
        return Response(status_code=204)

    return await served.call(work)
