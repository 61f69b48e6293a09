"""Events: listed by pages, and live as server-sent events."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from ostinato.clock import instant_of, to_rfc3339
from ostinato.records import StoredEvent
from ostinato.runtime.emitting import emit_to
from ostinato.server import shapes, shapes_happenings
from ostinato.server.asking import Cursor, Here, Limit, Operator, Viewer, number_from, refusals, reply, to_cursor
from ostinato.server.shapes import Page
from ostinato.server.stream import Feed, Wanted, event_of, last_before
from ostinato.waiting import to_json

router = APIRouter(prefix="/api/events", tags=["events"], responses=refusals())
Kind = Annotated[str, Query(max_length=100, description="The beginning of their kind: `run.`, `task_run.failed`.")]
Key = Annotated[str | None, Query(max_length=1000, description="What they are about, whole.")]
OfRun = Annotated[str, Query(max_length=64, description="A run's whole id.")]


@router.get("", response_model=Page[shapes.Event])
async def list_events(
    served: Here,
    _who: Viewer,
    *,
    kind: Kind = "",
    run: OfRun = "",
    key: Key = None,
    since: Annotated[datetime | None, Query(description="Only from then on.")] = None,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Only beyond this number: to read on.")] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """List events, oldest first."""
    wanted, store = Wanted(kind, run, key), served.store

    def work() -> tuple[list[StoredEvent], bool]:
        start = number_from(cursor, after or 0)
        if cursor is None and since is not None:
            start = max(start, last_before(store, instant_of(since)))
        rows = store.list_events(run or None, after=start, limit=limit + 1)
        return rows[:limit], len(rows) > limit

    rows, more = await served.call(work)
    shown = [event_of(stored) for stored in rows if wanted.has(stored)]
    return reply({"items": shown, "next": to_cursor(rows[-1].id) if more else None})


@router.post("", status_code=201, response_model=shapes_happenings.Emitted)
async def emit_event(served: Here, _who: Operator, new: shapes_happenings.NewEvent) -> Response:
    """Tell that something has happened: runs that wait for it go on, schedules and automations hear of it."""
    event = await served.call(lambda: emit_to(served.store, new.kind, new.key, to_json(new.data)))
    served.changed()
    return reply({"kind": event.kind, "key": event.key, "at": to_rfc3339(event.at)}, 201)


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
    key: Key = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62, description="Go on after this one.")] = None,
) -> Response:
    """Watch events as they happen."""
    feed: Feed = request.app.state.feed
    return StreamingResponse(
        feed.watch(Wanted(kind, run, key), last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
