"""``ostinato archive list | show | export``: runs that were forgotten."""

from __future__ import annotations

import sys
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson  # noqa: TC001  # cyclopts reads it at run time
from ostinato.cli.screen import show, show_json, state_text, table
from ostinato.errors import UsageError
from ostinato.runtime.archive import Archive
from ostinato.runtime.retention import archive_of
from ostinato.settings import load_settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = Annotated[
    str | None, Parameter(name="--archive", help="Its folder or bucket; by default OSTINATO_RETENTION_ARCHIVE.")
]
RunName = Annotated[str, Parameter(name="RUN", help="A run's id, or the unique beginning or end of it.")]
FlowName = Annotated[str | None, Parameter(name="--flow", help="Only runs of this flow.")]
Since = Annotated[str | None, Parameter(name="--since", help="Only runs that ended on this day or later: 2026-01-31.")]
Until = Annotated[str | None, Parameter(name="--until", help="Only runs that ended on this day or earlier.")]
Limit = Annotated[int, Parameter(name=["--limit", "-n"], help="How many at most; 20 by default.")]


def list_runs(
    *,
    flow: FlowName = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    archive: Place = None,
    json: AsJson = False,
) -> None:
    """List archived runs, the day on which they ended last first."""
    found = list(islice(_runs(_open(archive), flow, since, until), max(1, limit)))
    if json:
        left_out = ("task_runs", "events", "logs")
        show_json([{name: value for name, value in run.items() if name not in left_out} for run in found])
        return
    if not found:
        print("No run in the archive fits.")
        return
    made = table(
        "run",
        "flow",
        "state",
        "started",
        "finished",
        "tasks",
        right=("tasks",),
        whole=("run", "state", "started", "finished"),
    )
    for run in found:
        started = _shown(run["started_at"] or run["created_at"])
        made.add_row(
            run["id"], run["flow"], _state(run), started, _shown(run["finished_at"]), str(len(run["task_runs"]))
        )
    show(made)


def show_run(run: RunName, /, *, archive: Place = None, json: AsJson = False) -> None:
    """Show an archived run: how it ended, its task runs and its log."""
    found = _open(archive).find(run)
    if json:
        show_json(found)
        return
    head = Text.assemble((found["id"], "bold"), f"  {found['flow']}  ", _state(found))
    show(head, f"{_shown(found['created_at'])} to {_shown(found['finished_at'])}")
    if found["task_runs"]:
        made = table("task", "state", "attempts", "result", whole=("task",))
        for each in found["task_runs"]:
            result = msgspec.json.encode(each["result"]).decode() if each["result"] is not None else ""
            index = "" if each["map_index"] is None else f"[{each['map_index']}]"
            made.add_row(f"{each['task']}{index}", _state(each), str(each["attempts"]), Text(result[:120]))
        show("", made)
    if found["error"] is not None:
        show("", Text(f"{found['error']['type']}: {found['error']['message']}", "red"))
    if found["logs"]:
        show("", *(Text(f"{_shown(line['at'])}  {line['task'] or '·'}  {line['message']}") for line in found["logs"]))


def export(
    run: Annotated[str | None, Parameter(name="RUN", help="Only this run.")] = None,
    /,
    *,
    flow: FlowName = None,
    since: Since = None,
    until: Until = None,
    archive: Place = None,
) -> None:
    """Write archived runs to standard output, a run a line, each once: JSON with its task runs, events and log."""
    opened = _open(archive)
    for each in [opened.find(run)] if run is not None else _runs(opened, flow, since, until):
        sys.stdout.write(msgspec.json.encode(each).decode() + "\n")


def _open(url: str | None) -> Archive:
    found = Archive(url) if url else archive_of(load_settings())
    if found is None:
        raise UsageError(
            "No archive is set. Set OSTINATO_RETENTION_ARCHIVE to a folder or a bucket, or give --archive."
        )
    return found


def _runs(archive: Archive, flow: str | None, since: str | None, until: str | None) -> Iterator[dict[str, Any]]:
    found = archive.runs(since=_day(since, "--since") or "", until=_day(until, "--until") or "~")
    return (run for run in found if flow is None or run["flow"] == flow)


def _day(text: str | None, option: str) -> str | None:
    try:
        return None if text is None else f"{datetime.fromisoformat(text):%Y-%m-%d}"
    except ValueError:
        raise UsageError(f"{option} {text!r} is no day; write 2026-01-31.") from None


def _state(shape: dict[str, Any]) -> Text:
    return state_text(State(shape["state"]), shape["reason"])


def _shown(instant: str | None) -> str:
    return "" if instant is None else f"{instant[:10]} {instant[11:16]}"
