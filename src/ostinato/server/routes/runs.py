"""Runs: listed, looked at, started, stopped and run again."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ostinato.access import Who
from ostinato.clock import instant_of, to_rfc3339
from ostinato.records import LogBatch, LogLine, Run, RunFilter, TaskRun
from ostinato.runtime import cancelling
from ostinato.runtime.operations import Verb, mark_in, queue_again
from ostinato.runtime.overview import attempt_of, log_line, summary, task_run
from ostinato.runtime.starting import Started, StartOrder, start
from ostinato.runtime.why import Why, explain
from ostinato.server import shapes
from ostinato.server.asking import (
    Cursor,
    Here,
    Limit,
    Operator,
    Viewer,
    from_cursor,
    note,
    number_from,
    page,
    refusals,
    reply,
    to_cursor,
    to_number,
)
from ostinato.server.served import Served
from ostinato.server.shapes import Page
from ostinato.server.stream import event_of
from ostinato.states import State
from ostinato.store.store import Store

router = APIRouter(prefix="/api/runs", tags=["runs"], responses=refusals(404))
RunId = Annotated[str, Path(min_length=1, max_length=64, description="The run's whole id.")]
Seq = Annotated[int, Path(ge=0, le=2**31 - 1, description="The number of the task run.")]
Word = Annotated[str | None, Query(max_length=200)]
_SHOWN = 4096
_BATCHES = 50
_PAST = {"retry": "retried", "resume": "resumed", "rerun": "rerun"}


@router.get("", response_model=Page[shapes.Run])
async def list_runs(
    served: Here,
    _who: Viewer,
    *,
    state: Annotated[list[State], Query(description="Any of these.")] = [],  # noqa: B006  # FastAPI copies it
    flow: Word = None,
    deployment: Word = None,
    tag: Word = None,
    pool: Word = None,
    parent: Word = None,
    top_level: Annotated[bool, Query(description="Leave child runs out.")] = False,
    created_since: datetime | None = None,
    counts: Annotated[bool, Query(description="Count each one's task runs by state.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List runs, newest first."""
    which = RunFilter(
        states=state,
        flow=flow,
        deployment=deployment,
        tag=tag,
        pool=pool,
        parent_run_id=parent,
        top_level=top_level,
        created_since=None if created_since is None else instant_of(created_since),
        before=from_cursor(cursor),
        limit=limit + 1,
    )
    runs = await served.call(lambda: served.store.list_runs(which))
    found = await served.call(lambda: served.store.count_task_runs([run.id for run in runs])) if counts else {}
    return page(runs, limit, lambda run: _brief(run, found.get(run.id)), lambda run: run.id)


def _brief(run: Run, counts: dict[State, int] | None) -> dict[str, Any]:
    """Describe a run for a list: what is long is named, not shown."""
    shape = summary(run, counts)
    for name, data in (("parameters", run.parameters), ("result", run.result)):
        if data is not None and len(data) > _SHOWN and not isinstance(shape[name], str):
            shape[name] = f"<{len(data):,} bytes>"
    if shape["error"] is not None:
        shape["error"]["traceback"] = ""
    return shape


@router.post(
    "",
    response_model=shapes.Run,
    status_code=201,
    responses={200: {"model": shapes.Run, "description": "An earlier start with the same key made this run."}},
)
async def start_run(served: Here, who: Operator, order: shapes.StartRun) -> Response:
    """Start a run of a deployment."""

    def work() -> Started:
        resources = None if order.resources is None else msgspec.json.encode(order.resources).decode()
        wanted = StartOrder(
            deployment=order.deployment,
            parameters=order.parameters,
            key=order.key,
            tags=order.tags,
            start_at=None if order.start_at is None else instant_of(order.start_at),
            pool=order.pool,
            queue=order.queue,
            priority=order.priority,
            resources=resources,
            created_by=who.name,
        )
        return start(served.store, served.results, wanted)

    started = await served.write(work)
    if started.created:
        served.changed()
    return reply(summary(started.run), 201 if started.created else 200)


@router.get("/{run_id}", response_model=shapes.Run)
async def get_run(served: Here, _who: Viewer, run_id: RunId) -> Response:
    """Look at a run."""

    def work() -> Response:
        run = served.store.get_run(run_id)
        return reply(summary(run, served.store.count_task_runs([run.id]).get(run.id, {})))

    return await served.call(work)


@router.get("/{run_id}/task-runs", response_model=Page[shapes.TaskRun])
async def list_task_runs(
    served: Here,
    _who: Viewer,
    run_id: RunId,
    state: Annotated[list[State], Query(description="Any of these.")] = [],  # noqa: B006  # FastAPI copies it
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """List a run's task runs, in order."""
    after = number_from(cursor, -1)

    def work() -> list[TaskRun]:
        served.store.get_run(run_id)
        return served.store.list_task_runs(run_id, after=after, limit=limit + 1, states=state)

    rows = await served.call(work)
    shown = [row for row in rows[:limit] if row.kind != "value"]
    ids = {row.seq: row.id for row in shown}
    more = to_cursor(rows[limit - 1].seq) if len(rows) > limit else None
    return reply({"items": [task_run(row, ids, []) for row in shown], "next": more})


@router.get(
    "/{run_id}/task-runs/{seq}/attempts",
    response_model=list[shapes.Attempt],
)
async def list_attempts(served: Here, _who: Viewer, run_id: RunId, seq: Seq) -> Response:
    """List the attempts of a task run before its latest."""

    def work() -> Response:
        served.store.get_run(run_id)
        return reply([attempt_of(attempt) for attempt in served.store.list_attempts(run_id, seq)])

    return await served.call(work)


@router.get(
    "/{run_id}/logs",
    response_model=Page[shapes.LogLine],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def list_logs(
    served: Here,
    _who: Viewer,
    run_id: RunId,
    level: Annotated[int, Query(ge=0, le=100, description="The lowest, as in Python's logging.")] = 0,
    text: Annotated[bool, Query(description="As plain text; the header Ostinato-Next then has the cursor.")] = False,  # noqa: FBT002  # a query parameter
    cursor: Cursor = None,
) -> Response:
    """Read what a run logged and printed."""
    epoch, _, n = (from_cursor(cursor) or "-1,-1").partition(",")
    after = to_number(epoch), to_number(n)

    def work() -> tuple[list[LogBatch], dict[int, str]]:
        served.store.get_run(run_id)
        batches = served.store.read_logs(run_id, after=after, limit=_BATCHES + 1)
        return batches, _names(served.store, run_id, batches)

    batches, names = await served.call(work)
    lines = [line for batch in batches[:_BATCHES] for line in _lines(batch) if line.level >= level]
    last = batches[_BATCHES - 1] if len(batches) > _BATCHES else None
    following = None if last is None else to_cursor(f"{last.epoch},{last.n}")
    shaped = [log_line(line, None if line.seq is None else names.get(line.seq)) for line in lines]
    if not text:
        return reply({"items": shaped, "next": following})
    told = "".join(f"{line['at']}  {line['task'] or '-'}  {line['message']}\n" for line in shaped)
    return Response(told, media_type="text/plain", headers={"Ostinato-Next": following} if following else {})


def _lines(batch: LogBatch) -> list[LogLine]:
    return msgspec.json.decode(batch.lines, type=list[LogLine])


def _names(store: Store, run_id: str, batches: list[LogBatch]) -> dict[int, str]:
    """Name the task runs that wrote some lines."""
    seqs = sorted({line.seq for batch in batches for line in _lines(batch) if line.seq is not None})
    names: dict[int, str] = {}
    for seq in seqs:
        if seq not in names:
            rows = store.list_task_runs(run_id, after=seq - 1, limit=200)
            names |= {row.seq: row.task for row in rows}
    return names


@router.get("/{run_id}/events", response_model=Page[shapes.Event])
async def list_run_events(
    served: Here, _who: Viewer, run_id: RunId, limit: Limit = 200, cursor: Cursor = None
) -> Response:
    """List what happened to a run."""
    after = number_from(cursor, 0)
    events = await served.call(lambda: served.store.list_events(run_id, after=after, limit=limit + 1))
    return page(events, limit, event_of, lambda stored: stored.id)


@router.get("/{run_id}/waits", response_model=list[shapes.Wait])
async def list_waits(served: Here, _who: Viewer, run_id: RunId) -> Response:
    """List what a run waits for."""

    def work() -> Response:
        served.store.get_run(run_id)
        return reply(
            [
                {
                    "kind": wait.kind,
                    "key": wait.key,
                    "seq": wait.seq,
                    "due_at": to_rfc3339(wait.due_at),
                    "created_at": to_rfc3339(wait.created_at),
                }
                for wait in served.store.list_waits(run_id)
            ]
        )

    return await served.call(work)


@router.get("/{run_id}/why", response_model=shapes.Why)
async def explain_run(served: Here, _who: Viewer, run_id: RunId) -> Response:
    """Say why a run is as it is, and what to do."""
    return reply(await served.call(lambda: _why(explain(served.store, served.store.get_run(run_id)))))


@router.post("/{run_id}/cancel", response_model=shapes.Run, responses=refusals(409))
async def cancel_run(served: Here, who: Operator, run_id: RunId) -> Response:
    """Stop a run."""

    def work() -> Response:
        run = cancelling.cancel_run(served.store, run_id)
        note(served, who, "run_cancelled", run_id, run_id=run_id)
        return reply(summary(run))

    return await served.call(work)


@router.post("/{run_id}/retry", response_model=shapes.Run, responses=refusals(409))
async def retry_run(served: Here, who: Operator, run_id: RunId) -> Response:
    """Try it again."""
    return await _again(served, who, "retry", run_id)


@router.post("/{run_id}/resume", response_model=shapes.Run, responses=refusals(409))
async def resume_run(served: Here, who: Operator, run_id: RunId) -> Response:
    """Go on with it."""
    return await _again(served, who, "resume", run_id)


@router.post("/{run_id}/rerun", response_model=shapes.Run, responses=refusals(409))
async def rerun_run(served: Here, who: Operator, run_id: RunId, again: shapes.Again) -> Response:
    """Run a part of it again."""
    return await _again(served, who, "rerun", run_id, task=again.task, everything=again.everything)


@router.post(
    "/{run_id}/task-runs/{task}/mark",
    response_model=shapes.Run,
    responses=refusals(409),
)
async def mark_task_run(
    served: Here, who: Operator, run_id: RunId, task: Annotated[str, Path(max_length=300)], marked: shapes.Mark
) -> Response:
    """Say by hand how a task run ended."""

    def work() -> Response:
        run = served.store.get_run(run_id)
        run, row = mark_in(served.store, served.results, run, task, marked.state, marked.value)
        more = {"task": row.task, "state": marked.state}
        note(served, who, "task_run_marked", run_id, run_id=run_id, more=more)
        return reply(summary(run))

    return await served.call(work)


async def _again(
    served: Served, who: Who, verb: Verb, run_id: str, *, task: str = "", everything: bool = False
) -> Response:
    def work() -> Response:
        run = queue_again(served.store, served.store.get_run(run_id), verb, task, everything=everything)
        note(served, who, f"run_{_PAST[verb]}", run_id, run_id=run_id, more={"task": task} if task else None)
        return reply(summary(run))

    return await served.call(work)


def _why(why: Why) -> dict[str, Any]:
    return {
        "run_id": why.run_id,
        "task": why.task,
        "state": why.state,
        "reason": why.reason,
        "since": to_rfc3339(why.since),
        "because": why.because,
        "advice": why.advice,
        "facts": why.facts,
    }
