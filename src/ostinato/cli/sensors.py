"""``ostinato sensors list | show | test | ticks | pause | resume | reset``."""

from __future__ import annotations

import json as jsons
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from ostinato.authoring.sensing import load_sensor
from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import seconds_text, show_json, table, when
from ostinato.cli.screen import show as show_on
from ostinato.clock import instant_of
from ostinato.errors import OstinatoError
from ostinato.outcomes import failure_of
from ostinato.runtime import sensing
from ostinato.runtime.auditing import audit
from ostinato.runtime.timetable import data_of, tick_shape
from ostinato.sensors.sensor import SensorContext, parse_cursor, read_cursor, write_cursor
from ostinato.timing import LOOK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.sensors.sensor import Look
    from ostinato.timing import Schedule, Tick

Name = Annotated[str, Parameter(name="NAME", help="A sensor's name, as `sensors list` shows it.")]
Target = Annotated[str, Parameter(name="TARGET", help="file.py:sensor, or file.py with one sensor in it.")]
OfProject = Annotated[str | None, Parameter(name="--project", help="Only those of this project.")]
Cursor = Annotated[
    str | None, Parameter(name="--cursor", help="JSON, or a text as it is; without it there is no cursor.")
]
Last = Annotated[int, Parameter(name=["--limit", "-n"], help="How many; 20 by default.")]

_SHOWN = 50
"""Requests that `test` shows at most."""


def list_sensors(*, project: OfProject = None, json: AsJson = False) -> None:
    """List sensors, and how their last looks went."""
    with store() as opened:
        rows, now = sensing.list_sensors(opened, project=project), opened.now()
        deployed = {each.name: each for each in opened.list_deployed(project=project)}
    shapes = [sensing.sensor_shape(row, deployed.get(row.deployment)) for row in rows]
    if json:
        show_json(shapes)
        return
    if not rows:
        print("There is no sensor yet. Put @sensor on a function, then: ostinato deploy")
        return
    made = table("sensor", "every", "pool", "looked", "next", "", whole=("sensor", "looked", "next"))
    for row, shape in zip(rows, shapes, strict=True):
        made.add_row(
            row.name,
            seconds_text(shape["every"]),
            shape["pool"] or "",
            _ago(shape["looked_at"], now),
            "" if row.paused else when(row.next_at, now),
            _state(row, shape),
        )
    show_on(made)


def _ago(instant: str | None, now: int) -> str:
    return "" if instant is None else when(instant_of(datetime.fromisoformat(instant)), now)


def _state(row: Schedule, shape: dict[str, Any]) -> Text:
    if row.paused:
        return Text("paused", "yellow")
    if shape["failures"]:
        return Text(f"failed {shape['failures']} times" if shape["failures"] > 1 else "failed", "bold red")
    return Text("trouble" if row.trouble else "", "bold red")


def show(name: Name, /, *, json: AsJson = False) -> None:
    """Show a sensor, its cursor and its last looks."""
    with store() as opened:
        row, now = sensing.get_sensor(opened, name), opened.now()
        found, ticks = opened.get_deployed(row.deployment), opened.list_ticks(name, limit=5)
    shape = sensing.sensor_shape(row, found)
    if json:
        show_json(shape | {"ticks": [tick_shape(tick) for tick in ticks]})
        return
    made = table("", "", whole=("",))
    made.show_header = False
    for label, value in (
        ("sensor", row.name),
        ("where", found.target),
        ("project", found.project),
        (
            "looks",
            f"every {seconds_text(shape['every'])}, for {seconds_text(shape['timeout'])} at most, in {found.pool}",
        ),
        ("state", "paused" if row.paused else f"next look {when(row.next_at, now)}"),
        ("cursor", "none" if row.cursor is None else row.cursor),
        ("broken", found.broken or ""),
        ("trouble", row.trouble or ""),
        ("about", found.description),
    ):
        if value:
            made.add_row(Text(label, "dim"), value)
    show_on(made, *(["", _ticks_table(ticks, now)] if ticks else []))


def look_here(target: Target, /, *, cursor: Cursor = None, json: AsJson = False) -> int:
    """Look here, once, with a cursor: show what would be requested, and start nothing."""
    name, sensor = load_sensor(target)
    context = SensorContext(read_cursor(sensor.options.cursor) if cursor is None else parse_cursor(cursor))
    try:
        found = sensor.look(context)
    except OstinatoError:
        raise
    except Exception as error:  # the user's own: its traceback says most
        sys.stderr.write(failure_of(error).traceback)
        return 1
    _tell_look(name, found, as_json=json)
    return 0


def _tell_look(name: str, found: Look, *, as_json: bool) -> None:
    requests = [
        {
            "start": each.target,
            "parameters": each.parameters,
            "key": each.key,
            "tags": list(each.tags),
            "partition": each.partition,
        }
        for each in found.requests
    ]
    if as_json:
        shape = {"sensor": name, "requests": requests, "skip": found.skip, "cursor": read_cursor(found.cursor)}
        show_json(shape)
        return
    if requests:
        made = table("start", "key", "parameters", whole=("start",))
        for each in requests[:_SHOWN]:
            made.add_row(str(each["start"]), str(each["key"] or ""), jsons.dumps(each["parameters"]))
        show_on(made)
        if len(requests) > _SHOWN:
            print(f"… and {len(requests) - _SHOWN:,} more")
    else:
        print(f"{name} requests nothing{f': {found.skip}' if found.skip else '.'}")
    print(f"The cursor would be {found.cursor or 'none'}. Nothing was started.")


def list_ticks(name: Name, /, *, limit: Last = 20, json: AsJson = False) -> None:
    """Show what a sensor's looks came to, newest first: runs that it requested, why it skipped, how it failed."""
    with store() as opened:
        sensing.get_sensor(opened, name)
        ticks, now = opened.list_ticks(name, limit=limit), opened.now()
    if json:
        show_json([tick_shape(tick) for tick in ticks])
    elif ticks:
        show_on(_ticks_table(ticks, now))
    else:
        print(f"{name} has not been looked at yet.")


def _ticks_table(ticks: Sequence[Tick], now: int) -> Any:
    made = table("at", "outcome", "key", "run", "", whole=("at", "run"))
    colours = {"started": "green", "skipped": "dim", "failed": "bold red"}
    for tick in ticks:
        data = data_of(tick)
        reason = f" ({tick.reason})" if tick.reason else ""
        key = "" if tick.key.startswith(LOOK) else str(data.get("key") or tick.key)
        outcome = Text(f"{tick.outcome}{reason}", colours.get(tick.outcome, ""))
        made.add_row(when(tick.at, now), outcome, key, tick.run_id or "", str(data.get("error", "")))
    return made


def pause(name: Name, /, *, json: AsJson = False) -> None:
    """Have nobody look; a look that is under way counts."""
    _pause(name, paused=True, as_json=json)


def resume(name: Name, /, *, json: AsJson = False) -> None:
    """Let a paused sensor be looked at again, where it was."""
    _pause(name, paused=False, as_json=json)


def _pause(name: str, *, paused: bool, as_json: bool) -> None:
    with store() as opened:
        sensing.get_sensor(opened, name)
        row = opened.pause_schedule(name, paused=paused)
        audit(opened, None, f"sensor_{'paused' if paused else 'resumed'}", name)
        shape = sensing.sensor_shape(row, opened.get_deployed(row.deployment))
    if as_json:
        show_json(shape)
    elif paused:
        print(f"{name} is paused. Let it go on by `ostinato sensors resume {name}`.")
    else:
        print(f"{name} is looked at again.")


def reset(name: Name, /, *, cursor: Cursor = None, json: AsJson = False) -> None:
    """Set a sensor's cursor, or forget it, and look now. Run keys that have been there make no second run."""
    with store() as opened:
        sensing.get_sensor(opened, name)
        given = None if cursor is None else write_cursor(parse_cursor(cursor), name)
        row = opened.put_cursor(name, given)
        audit(opened, None, "sensor_reset", name, more={"cursor": given})
        shape = sensing.sensor_shape(row, opened.get_deployed(row.deployment))
    if json:
        show_json(shape)
    else:
        print(f"The cursor of {name} is {given or 'none'} now.{' It is paused.' if row.paused else ''}")
