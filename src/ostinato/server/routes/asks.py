"""Questions that runs wait for people to answer."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ostinato.runtime.asking import answer_as, ask_shape
from ostinato.server import shapes_happenings as shapes
from ostinato.server.asking import Here, Limit, Viewer, note, refusals, reply

router = APIRouter(prefix="/api/asks", tags=["asks"], responses=refusals())
AskId = Annotated[str, Path(min_length=1, max_length=64, description="The question's id.")]


@router.get("", response_model=list[shapes.Ask])
async def list_asks(
    served: Here,
    _who: Viewer,
    *,
    is_open: Annotated[bool, Query(alias="open", description="Only those that may be answered.")] = True,
    run: Annotated[str | None, Query(max_length=64, description="A run's whole id.")] = None,
    limit: Limit = 200,
) -> Response:
    """List questions, newest first."""
    rows = await served.call(lambda: served.store.list_asks(is_open=is_open, run_id=run, limit=limit))
    return reply([ask_shape(ask) for ask in rows])


@router.get("/{ask_id}", response_model=shapes.Ask, responses=refusals(404))
async def get_ask(served: Here, _who: Viewer, ask_id: AskId) -> Response:
    """Show a question and what was answered."""
    return reply(ask_shape(await served.call(lambda: served.store.get_ask(ask_id))))


@router.post("/{ask_id}/answer", response_model=shapes.Ask, responses=refusals(404, 409))
async def answer_ask(served: Here, who: Viewer, ask_id: AskId, given: shapes.NewReply) -> Response:
    """Answer a question; the last answer that is needed lets its run go on. A second answer replaces one's first."""

    def work() -> Response:
        ask = answer_as(served.store, who, ask_id, given.by, msgspec.json.encode(given.values).decode())
        note(served, who, "ask_answered", ask_id, run_id=ask.run_id)
        return reply(ask_shape(ask))

    return await served.call(work)
