"""``ostinato simulate``: what will run when, and what will keep it waiting, before it happens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.authoring.project import find_project
from ostinato.authoring.scan import scan
from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import seconds_text, show, show_json, table, when
from ostinato.cli.spans import instant_of, seconds_of
from ostinato.clock import SECOND, SystemClock, to_datetime
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.io.results import ResultStore
from ostinato.settings import load_settings
from ostinato.simulate.chart import chart as in_characters
from ostinato.simulate.drawing import draw
from ostinato.simulate.gather import crews_of, from_project, from_store, with_durations
from ostinato.simulate.play import play
from ostinato.simulate.scene import Crew, Span
from ostinato.simulate.words import to_data
from ostinato.timing import LimitRow
from ostinato.work import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ostinato.simulate.outlook import Foretold, Outlook
    from ostinato.simulate.scene import Scene

Target = Annotated[
    str | None,
    Parameter(name="PATH", help="A project's folder or a file that is not deployed yet; by default what is deployed."),
]
From = Annotated[str, Parameter(name="--from", help="From when on: ISO 8601, or a span from now; by default now.")]
To = Annotated[str, Parameter(name="--to", help="Until when: ISO 8601, or a span from --from; by default 1d.")]
Workers = Annotated[
    int | None, Parameter(name="--workers", help="How many workers, for all pools; by default those that are there.")
]
Slots = Annotated[int | None, Parameter(name="--slots", help="Runs that each of them carries out at once.")]
Pools = Annotated[
    list[str] | None,
    Parameter(name="--pool", negative=(), help="What if: a work pool's slots, NAME=SLOTS; 0 for any number."),
]
Limits = Annotated[
    list[str] | None, Parameter(name="--limit", negative=(), help="What if: a concurrency limit's slots, NAME=SLOTS.")
]
Durations = Annotated[
    list[str] | None,
    Parameter(name="--duration", negative=(), help="How long runs take, NAME=10m, instead of what the past says."),
]
Seed = Annotated[int, Parameter(name="--seed", help="For durations and failures, which are drawn by lot.")]
IncludePaused = Annotated[bool, Parameter(name="--include-paused", negative=(), help="Have paused schedules fire too.")]
Chart = Annotated[str | None, Parameter(name="--chart", help="`terminal`, or a file to draw it in: load.svg.")]
_MOST_BINDINGS = 8
_NARROW = 60


def simulate(
    path: Target = None,
    /,
    *,
    begin: From = "0s",
    end: To = "1d",
    workers: Workers = None,
    slots: Slots = None,
    pool: Pools = None,
    limit: Limits = None,
    duration: Durations = None,
    seed: Seed = 0,
    include_paused: IncludePaused = False,
    chart: Chart = None,
    json: AsJson = False,
) -> int:
    """Play schedules, sensors, limits and workers ahead: what runs when, and what waits for what.

    Nothing is started and nothing is written. How long runs take and how often they fail is drawn from the past.
    """
    _check_chart(chart)
    now = SystemClock().now()
    first = instant_of(begin, "--from", now)
    span = Span(begin=first, end=instant_of(end, "--to", first))
    scene, crews = _gather(path, span, include_paused=include_paused)
    if workers is not None or slots is not None:
        crews = [Crew(workers=1 if workers is None else workers, slots=slots or _slots())]
    scene = with_durations(scene, _durations(duration))
    outlook = play(_what_if(scene, pool, limit), span, crews, seed=seed)
    if chart is not None and chart != "terminal":
        _write(chart, outlook)
    if json:
        show_json(to_data(outlook))
    else:
        _tell(outlook, scene, has_chart=chart == "terminal")
    return 0


def _gather(path: str | None, span: Span, *, include_paused: bool) -> tuple[Scene, list[Crew]]:
    if path is not None:
        manifest = scan(find_project(path))
        if manifest.errors and not manifest.deployed:
            raise UsageError("\n".join(manifest.errors.values()))
        return from_project(manifest.deployed, manifest.schedules, include_paused=include_paused), [
            Crew(slots=_slots())
        ]
    settings = load_settings()
    with store() as opened:
        results = ResultStore(settings.results_url, token=settings.token)
        return from_store(opened, results, span, include_paused=include_paused), crews_of(opened, _slots())


def _slots() -> int:
    """Return how many runs a worker carries out at once where nobody says it."""
    return 2 * (os.cpu_count() or 1)


def _durations(given: Sequence[str] | None) -> dict[str, float]:
    return {name: seconds_of(text, "--duration") for name, text in _pairs(given, "--duration", "report=10m")}


def _what_if(scene: Scene, pools: Sequence[str] | None, limits: Sequence[str] | None) -> Scene:
    known = {pool.name: pool for pool in scene.pools} | {
        name: Pool(name=name) for name in {each.pool for each in scene.deployed} - {p.name for p in scene.pools}
    }
    for name, text in _pairs(pools, "--pool", "gpu=2"):
        if name not in known:
            raise UnknownNameError(f"There is no work pool {name!r}.{nearest(name, sorted(known))}")
        known[name] = msgspec.structs.replace(known[name], slots=_count(text, "--pool", 0) or None)
    rows = {row.name: row for row in scene.limits}
    for name, text in _pairs(limits, "--limit", "db=10"):
        before = rows.get(name, LimitRow(name=name))
        rows[name] = msgspec.structs.replace(before, slots=_count(text, "--limit", 1))
    return msgspec.structs.replace(scene, pools=list(known.values()), limits=list(rows.values()))


def _pairs(given: Sequence[str] | None, option: str, example: str) -> list[tuple[str, str]]:
    found = []
    for item in given or ():
        name, equals, text = item.rpartition("=")
        if not equals or not name:
            raise UsageError(f"{option} {item!r} is not NAME=VALUE. For example: {option} {example}")
        found.append((name, text))
    return found


def _count(text: str, option: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{option} takes a number of slots, {least} or more, not {text!r}.")
    return int(text)


def _check_chart(chart: str | None) -> None:
    if chart is not None and chart != "terminal" and not chart.endswith(".svg"):
        raise UsageError(f"--chart is `terminal` or a file that ends in .svg, not {chart!r}.")


def _write(file: str, outlook: Outlook) -> None:
    title = f"{_day(outlook.begin)} to {_day(outlook.end)}: {outlook.runs:,} runs on {_crew(outlook)}"
    try:
        Path(file).write_text(draw(outlook, title), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--chart {file} cannot be written: {error.strerror}.") from None


# --- for people


def _tell(outlook: Outlook, scene: Scene, *, has_chart: bool) -> None:
    print(f"{_day(outlook.begin)} to {_day(outlook.end)} on {_crew(outlook)}, simulated in {outlook.took:.1f} s.")
    if not scene.schedules:
        print("Nothing is scheduled: give a flow schedule=Cron(...), or `ostinato schedules add`.")
    busy = [each for each in outlook.deployments if each.runs or each.skipped]
    if busy:
        show(Text(), _deployments(busy, outlook))
    if outlook.bindings:
        show(Text(), _bindings(outlook))
    if has_chart:
        width = max(_NARROW, min(140, shutil.get_terminal_size((100, 24)).columns))
        print("", *in_characters(outlook, width), sep="\n")
    missed = f", {outlook.deadlines_missed:,} deadlines missed" if outlook.deadlines_missed else ""
    late = f"95 of 100 at most {seconds_text(outlook.late.p95)} late" if outlook.runs else "nothing runs"
    print(f"\n{outlook.runs:,} runs, {late}{missed}; {outlook.used:.0%} of the slots in use.")
    for note in outlook.notes:
        print(note)


def _deployments(found: Sequence[Foretold], outlook: Outlook) -> Table:
    right = ("runs", "ok", "failed", "skipped", "late p50", "p95", "max")
    made = table(
        "deployment", *right[:4], "first", "last", *right[4:], "each takes", right=right, whole=("deployment",)
    )
    for each in found:
        bad = sum(count for state, count in each.ended.items() if state in {"failed", "crashed", "cancelled"})
        made.add_row(
            each.deployment,
            f"{each.runs:,}",
            f"{each.ended.get('succeeded', 0):,}",
            Text(f"{bad:,}" if bad else "", "red"),
            Text(_skipped(each), "yellow"),
            when(each.first_at, outlook.begin),
            when(each.last_at, outlook.begin),
            *(seconds_text(span) if each.runs else "" for span in msgspec.structs.astuple(each.late)),
            Text(f"{seconds_text(each.seconds)} ({each.source})" if each.seconds else each.source, "dim"),
        )
    return made


def _skipped(each: Foretold) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(each.skipped.items()))


def _bindings(outlook: Outlook) -> Table:
    made = table("waited for", "runs", "in all", "each", "of the time", right=("runs", "in all", "each", "of the time"))
    whole = (outlook.end - outlook.begin) / SECOND
    for each in outlook.bindings[:_MOST_BINDINGS]:
        made.add_row(
            each.name,
            f"{each.runs:,}",
            seconds_text(each.waited),
            seconds_text(each.waited / each.runs),
            f"{each.bound / whole:.0%}",
        )
    return made


def _crew(outlook: Outlook) -> str:
    workers = f"{outlook.workers} worker{'s' if outlook.workers != 1 else ''}"
    return f"{workers} with {outlook.slots} slot{'s' if outlook.slots != 1 else ''}"


def _day(instant: int) -> str:
    return f"{to_datetime(instant).astimezone():%Y-%m-%d %H:%M}"
