"""Events: listed by pages, and live as server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from ostinato.server import shapes
from ostinato.server.asking import Cursor, Here, Limit, Viewer, number_from, refusals, reply, to_cursor
from ostinato.server.shapes import Page
from ostinato.server.stream import Feed, Wanted, event_of

router = APIRouter(prefix="/api/events", tags=["events"], responses=refusals())
Kind = Annotated[str, Query(max_length=100, description="The beginning of their kind: `run.`, `task_run.failed`.")]
OfRun = Annotated[str, Query(max_length=64, description="A run's whole id.")]


@router.get("", response_model=Page[shapes.Event])
async def list_events(
    served: Here, _who: Viewer, kind: Kind = "", run: OfRun = "", limit: Limit = 200, cursor: Cursor = None
) -> Response:
    """List events, oldest first."""
    wanted, after = Wanted(kind, run), number_from(cursor, 0)
    rows = await served.call(lambda: served.store.list_events(run or None, after=after, limit=limit + 1))
    shown = [event_of(stored) for stored in rows[:limit] if wanted.has(stored)]
    return reply({"items": shown, "next": to_cursor(rows[limit - 1].id) if len(rows) > limit else None})


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Each `data` is an Event.",
        }
    },
)
async def stream_events(
    request: Request,
    _who: Viewer,
    kind: Kind = "",
    run: OfRun = "",
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62, description="Go on after this one.")] = None,
) -> Response:
    """Watch events as they happen."""
    feed: Feed = request.app.state.feed
    return StreamingResponse(
        feed.watch(Wanted(kind, run), last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
