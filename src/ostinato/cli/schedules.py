"""``ostinato schedules list | show | preview | ticks | pause | resume | replay | add | remove``."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter
from rich.text import Text

from ostinato.authoring.load import load_flow
from ostinato.cli.options import AsJson, ParamFile, Params, read_given, store
from ostinato.cli.screen import seconds_text, show_json, table, when
from ostinato.cli.screen import show as show_on
from ostinato.cli.spans import instant_of, seconds_of
from ostinato.clock import SECOND, SystemClock, to_datetime, to_rfc3339
from ostinato.errors import UsageError
from ostinato.runtime.adding import ScheduleOrder
from ostinato.runtime.adding import add as add_to
from ostinato.runtime.auditing import audit
from ostinato.runtime.rewinding import rewind
from ostinato.runtime.timetable import Foreseen, data_of, foreseen_shape, preview, shape_of, tick_shape
from ostinato.runtime.why_idle import why_idle
from ostinato.schedules import describe, from_spec
from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.schedules import When
    from ostinato.timing import Schedule, Tick

Name = Annotated[str, Parameter(name="NAME", help="A schedule's name, as `schedules list` shows it.")]
NameOrFile = Annotated[
    str, Parameter(name="NAME", help="A schedule's name, or file.py:flow for one that is not deployed.")
]
OfDeployment = Annotated[str | None, Parameter(name="--deployment", help="Only those of this deployment.")]
OfProject = Annotated[str | None, Parameter(name="--project", help="Only those of this project.")]
Count = Annotated[int, Parameter(name=["--count", "-n"], help="How many; 10 by default.")]
From = Annotated[str | None, Parameter(name="--from", help="From then on: 2026-03-28, or in so long: 30d.")]
Last = Annotated[int, Parameter(name=["--limit", "-n"], help="How many; 20 by default.")]
Since = Annotated[str | None, Parameter(name="--since", help="From then on again: 2026-01-31T06:00.")]
FromEvent = Annotated[int | None, Parameter(name="--from-event", help="From this event on again, by its number.")]
DeploymentName = Annotated[str, Parameter(name="DEPLOYMENT", help="What it starts.")]
OwnName = Annotated[str | None, Parameter(name="--name", help="Its name; DEPLOYMENT:added by default.")]
ByCron = Annotated[str | None, Parameter(name="--cron", help="As in a crontab: '0 6 * * 1-5'.")]
ByEvery = Annotated[str | None, Parameter(name="--every", help="So often: 90s, 15min, 2h.")]
ByRule = Annotated[str | None, Parameter(name="--rrule", help="A rule of RFC 5545: FREQ=MONTHLY;BYDAY=-1FR.")]
ByTime = Annotated[list[str] | None, Parameter(name="--at", negative=(), help="At this time; repeatable.")]
Zone = Annotated[str | None, Parameter(name="--timezone", help="Where the clock hangs: Europe/Oslo; UTC by default.")]
Jitter = Annotated[str | None, Parameter(name="--jitter", help="Each run up to so much later, by chance.")]
Catchup = Annotated[
    Literal["last", "all", "none"] | None,
    Parameter(name="--catchup", help="Which of the times start a run that nobody was there for; `last` by default."),
]
Begin = Annotated[str | None, Parameter(name="--start", help="Not before this.")]
End = Annotated[str | None, Parameter(name="--end", help="Not after this.")]
Tag = Annotated[list[str] | None, Parameter(name="--tag", negative=(), help="A label of its runs; repeatable.")]
Paused = Annotated[bool, Parameter(name="--paused", negative=(), help="Add it paused.")]

_PAGE: Final = 1000


def list_schedules(*, deployment: OfDeployment = None, project: OfProject = None, json: AsJson = False) -> None:
    """List schedules: when they start what, and when next."""
    kinds = ["time", "event", "condition"]
    with store() as opened:
        rows: list[Schedule] = []
        while not rows or len(rows) % _PAGE == 0:
            after = rows[-1].name if rows else ""
            which = ScheduleFilter(kinds=kinds, deployment=deployment, project=project, after=after, limit=_PAGE)
            page = opened.list_schedules(which)
            rows += page
            if len(page) < _PAGE:
                break
        now = opened.now()
    if json:
        show_json([shape_of(row) for row in rows])
        return
    if not rows:
        print("There is no schedule yet. Declare one: @flow(schedule=...), or: ostinato schedules add")
        return
    made = table("schedule", "deployment", "when", "next", "", whole=("schedule", "next"))
    for row in rows:
        state = Text("paused", "yellow") if row.paused else Text("trouble", "bold red") if row.trouble else Text("")
        following = "" if row.paused else when(row.next_at, now)
        made.add_row(row.name, row.deployment, shape_of(row)["when"], following, state)
    show_on(made)


def show(name: Name, /, *, json: AsJson = False) -> None:
    """Show a schedule, what it did last, and why it starts nothing where that is so."""
    with store() as opened:
        row, now = opened.get_schedule(name), opened.now()
        reasons, ticks = why_idle(opened, row), opened.list_ticks(name, limit=5)
    following = _foreseen(row, now, 3)
    if json:
        shape = shape_of(row) | {"preview": [foreseen_shape(item) for item in following]}
        why = [{"reason": each.reason, "text": each.text, "data": each.data} for each in reasons]
        show_json(shape | {"why": why, "ticks": [tick_shape(tick) for tick in ticks]})
        return
    made = table("", " ", whole=("",))
    made.show_header = False
    for label, value in (
        ("schedule", row.name),
        ("starts", row.deployment),
        ("when", shape_of(row)["when"]),
        ("parameters", "" if row.parameters == "{}" else row.parameters),
        ("tags", ", ".join(row.tags)),
        ("declared by", f"project {row.project}" if row.project else "hand"),
        ("next", "; ".join(item.local for item in following)),
    ):
        if value:
            made.add_row(Text(label, "dim"), value)
    for reason in reasons:
        made.add_row(Text("but", "yellow"), reason.text)
    shown = ["", _ticks_table(ticks, now)] if ticks else []
    show_on(made, *shown)


def _foreseen(row: Schedule, now: int, count: int) -> list[Foreseen]:
    if row.kind != "time" or row.paused:
        return []
    return preview(from_spec(row.spec), row.name, max(row.since, now), count)


def _next(row: Schedule, now: int) -> str:
    following = _foreseen(row, now, 1)
    return f", next at {following[0].local}" if following else ""


def preview_schedule(name: NameOrFile, /, *, count: Count = 10, from_: From = None, json: AsJson = False) -> None:
    """Show when a schedule will start runs, with what the clocks' change does to it. Nothing need be deployed."""
    plans = _plans_of(name)
    now = SystemClock().now()
    after = now if from_ is None else instant_of(from_, "--from", now) - 1
    found = {own: preview(each, own, after, count) for own, each in plans.items()}
    if json:
        shapes = {own: [foreseen_shape(item) for item in items] for own, items in found.items()}
        show_json(shapes if len(shapes) != 1 else next(iter(shapes.values())))
        return
    for own, items in found.items():
        print(f"{own}: {describe(plans[own])}")
        if not items:
            print("  No time of it will come: " + ("it waits for events." if plans[own].kind != "time" else "its end?"))
            continue
        made = table("local time", "utc", "jitter", "", whole=("local time", "utc"))
        for item in items:
            late = item.starts_at - item.scheduled_at
            utc = f"{to_datetime(item.scheduled_at):%Y-%m-%d %H:%M:%S}"
            jitter = f"+{seconds_text(late / SECOND)}" if late else ""
            made.add_row(_local(item), utc, jitter, Text(item.note or "", "yellow"))
        show_on(made)


def _local(item: Foreseen) -> str:
    return f"{to_datetime(item.scheduled_at):%a} {item.local}" if item.local.endswith("+00:00") else item.local


def _plans_of(name: str) -> dict[str, When]:
    """Return what to preview, by name: a stored schedule, or those that a flow in a file declares."""
    place, colon, _ = name.rpartition(":")
    if (place or name).endswith(".py") and Path(place if colon else name).exists():
        flow = load_flow(name)
        declared: Any = getattr(flow.options, "schedule", None) or ()
        several = list(declared) if isinstance(declared, list | tuple) else [declared]
        if not several:
            raise UsageError(f"The flow {flow.name} has no schedule: @flow(schedule=Cron('0 6 * * *')).")
        if len(several) == 1:
            return {flow.name: several[0]}
        return {f"{flow.name}:{each.name or number}": each for number, each in enumerate(several, 1)}
    with store() as opened:
        row = opened.get_schedule(name)
    if row.kind == "sensor":
        raise UsageError(f"{name} is a sensor: what it requests is not known before. See: ostinato sensors show {name}")
    return {row.name: from_spec(row.spec)}


def list_ticks(name: Name, /, *, limit: Last = 20, json: AsJson = False) -> None:
    """Show what a schedule came to each time, newest first: the run it started, or why it started none."""
    with store() as opened:
        opened.get_schedule(name)
        ticks, now = opened.list_ticks(name, limit=limit), opened.now()
    if json:
        show_json([tick_shape(tick) for tick in ticks])
    elif ticks:
        show_on(_ticks_table(ticks, now))
    else:
        print(f"{name} has not ticked yet. See: ostinato schedules preview {name}")


def _ticks_table(ticks: Sequence[Tick], now: int) -> Any:
    made = table("decided", "scheduled", "outcome", "run", "", whole=("decided", "scheduled", "run"))
    colours = {"started": "green", "skipped": "dim", "failed": "bold red"}
    for tick in ticks:
        data = data_of(tick)
        about = data.get("error") or (f"{data['count']} from {data['first']}" if tick.reason == "missed" else "")
        outcome = Text(f"{tick.outcome}{f' ({tick.reason})' if tick.reason else ''}", colours.get(tick.outcome, ""))
        made.add_row(when(tick.at, now), when(tick.scheduled_at, now), outcome, tick.run_id or "", str(about))
    return made


def pause(name: Name, /, *, json: AsJson = False) -> None:
    """Have a schedule start nothing. Times that pass meanwhile are not caught up with."""
    _pause(name, paused=True, as_json=json)


def resume(name: Name, /, *, json: AsJson = False) -> None:
    """Let a paused schedule go on, from now."""
    _pause(name, paused=False, as_json=json)


def _pause(name: str, *, paused: bool, as_json: bool) -> None:
    with store() as opened:
        row, now = opened.pause_schedule(name, paused=paused), opened.now()
        audit(opened, None, f"schedule_{'paused' if paused else 'resumed'}", name)
    if as_json:
        show_json(shape_of(row))
    elif paused:
        print(f"{name} is paused. Let it go on by `ostinato schedules resume {name}`.")
    else:
        print(f"{name} goes on{_next(row, now)}.")


def replay(name: Name, /, *, since: Since = None, from_event: FromEvent = None, json: AsJson = False) -> None:
    """Have a schedule decide again from a time, or an event, on: each of them starts a new run."""
    with store() as opened:
        begin = None if since is None else instant_of(since, "--since", opened.now())
        row = rewind(opened, name, since=begin, from_event=from_event)
        audit(opened, None, "schedule_rewound", name, more={"since": to_rfc3339(begin), "from_event": from_event})
    if json:
        show_json(shape_of(row))
    else:
        print(f"{name} decides again from {since or f'event {from_event}'} on. See: ostinato schedules ticks {name}")
        if row.paused:
            print(f"It is paused: nothing happens before `ostinato schedules resume {name}`.")


def add(
    deployment: DeploymentName,
    /,
    *,
    cron: ByCron = None,
    every: ByEvery = None,
    rrule: ByRule = None,
    at: ByTime = None,
    timezone: Zone = None,
    jitter: Jitter = None,
    catchup: Catchup = None,
    start: Begin = None,
    end: End = None,
    name: OwnName = None,
    param: Params = None,
    param_file: ParamFile = None,
    tag: Tag = None,
    paused: Paused = False,
    json: AsJson = False,
) -> None:
    """Add a schedule by hand, beside those that projects declare; one that was added under its name is replaced."""
    with store() as opened:
        now = opened.now()
        moment = {"--start": start, "--end": end}
        read = {
            flag: None if text is None else to_datetime(instant_of(text, flag, now)) for flag, text in moment.items()
        }
        options = {
            "timezone": timezone,
            "jitter": None if jitter is None else seconds_of(jitter, "--jitter"),
            "catchup": catchup,
            "start": read["--start"],
            "end": read["--end"],
        }
        order = ScheduleOrder(
            deployment=deployment,
            name=name,
            cron=cron,
            every=None if every is None else seconds_of(every, "--every"),
            rrule=rrule,
            at=None if at is None else [to_datetime(instant_of(text, "--at", now)) for text in at],
            options={key: value for key, value in options.items() if value is not None},
            parameters=read_given(param, param_file, lambda _, text: _value(text)),
            tags=list(tag or ()),
            paused=paused,
        )
        row = add_to(opened, order)
        audit(opened, None, "schedule_changed", row.name, more={"deployment": deployment})
    if json:
        show_json(shape_of(row))
    else:
        print(f"{row.name} starts {deployment} {shape_of(row)['when']}{_next(row, now)}.")


def _value(text: str) -> Any:
    try:
        return jsons.loads(text)
    except ValueError:
        return text


def remove(name: Name, /, *, json: AsJson = False) -> None:
    """Remove a schedule that was added by hand. What it has started stays."""
    with store() as opened:
        opened.remove_schedule(name)
        audit(opened, None, "schedule_removed", name)
    if json:
        show_json({"name": name})
    else:
        print(f"{name} is removed.")
