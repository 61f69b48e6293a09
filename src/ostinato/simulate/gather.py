"""Where a scene is from: the store, with what the past was like; or a project that is only looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import OstinatoError, UnknownNameError, nearest
from ostinato.records import RunFilter
from ostinato.runtime.consuming import wants_of
from ostinato.simulate.past import ASSUMED, DEFAULT_SECONDS, given, past_of
from ostinato.simulate.scene import Crew, Request, Scene, Told
from ostinato.states import TERMINAL
from ostinato.timing import LOOK, ScheduleFilter, Tick

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ostinato.io.results import ResultStore
    from ostinato.simulate.past import Past
    from ostinato.simulate.scene import Span
    from ostinato.store.store import Store
    from ostinato.timing import Schedule
    from ostinato.work import Deployed

T = TypeVar("T", Request, Told)
WINDOW: Final = 28 * 86_400 * SECOND
"""What sensors and users do is taken from the last four weeks, again and again: the days of the week stay the same."""
_LAST: Final = 200
"""So many past runs of a deployment tell what new ones are like."""
_PAGE: Final = 1000
_MOST_EVENTS: Final = 200_000
_MOST_TICKS: Final = 5000


def from_store(store: Store, results: ResultStore, span: Span, *, include_paused: bool = False) -> Scene:
    """Gather what is deployed, and what the past was like.

    Args:
        store: Only read from.
        results: Where parameters are that were too large for a row.
        span: When the simulation is.
        include_paused: Have paused schedules fire too.
    """
    deployed = store.list_deployed()
    schedules = _awake(_schedules(store), include_paused=include_paused)
    notes = _notes(deployed, schedules)
    requests = list(_requests(store, results, schedules, span, notes))
    events = list(_events(store, schedules, span, notes))
    pasts = {each.name: _past(store, each.name) for each in deployed if each.kind == "flow"}
    return Scene(
        deployed=deployed,
        schedules=schedules,
        pools=store.list_pools(),
        queues=store.list_queues(),
        limits=store.list_limits(),
        pasts=pasts,
        requests=requests,
        events=events,
        notes=notes,
    )


def from_project(deployed: Sequence[Deployed], schedules: Sequence[Schedule], *, include_paused: bool = False) -> Scene:
    """Make the scene of a project that is not deployed: nothing is known of its past.

    Args:
        deployed: What a scan has found.
        schedules: Likewise.
        include_paused: Have paused schedules fire too.
    """
    rows = _awake(schedules, include_paused=include_paused)
    return Scene(deployed=list(deployed), schedules=rows, notes=_notes(deployed, rows))


def with_durations(scene: Scene, seconds: Mapping[str, float]) -> Scene:
    """Say how long the runs of some flows or deployments take.

    Raises:
        UnknownNameError: If there is no flow or deployment of a name.
    """
    pasts = dict(scene.pasts)
    known = {name for each in scene.deployed for name in (each.name, each.flow)}
    for name, span in seconds.items():
        if name not in known:
            raise UnknownNameError(f"There is no flow or deployment {name!r}.{nearest(name, sorted(known))}")
        exact = [each.name for each in scene.deployed if each.name == name]
        for one in exact or [each.name for each in scene.deployed if each.flow == name]:
            pasts[one] = given(span)
    return msgspec.structs.replace(scene, pasts=pasts, notes=[*scene.notes, *_assumed(scene.deployed, pasts)])


def crews_of(store: Store, slots: int) -> list[Crew]:
    """Return the workers that are there now; one with some slots where there are none.

    Args:
        store: Where they are registered.
        slots: Of the one that is assumed.
    """
    now = store.now()
    there = [each for each in store.list_workers() if each.pools and each.expires_at > now and not each.draining]
    if not there:
        return [Crew(workers=1, slots=slots)]
    return [
        Crew(
            workers=1,
            slots=max(1, each.slots),
            pools=tuple(each.pools),
            resources=msgspec.json.decode(each.resources, type=dict[str, float]),
        )
        for each in there
    ]


# --- schedules


def _schedules(store: Store) -> list[Schedule]:
    rows: list[Schedule] = []
    while True:
        page = store.list_schedules(ScheduleFilter(after=rows[-1].name if rows else "", limit=_PAGE))
        rows += page
        if len(page) < _PAGE:
            return rows


def _awake(rows: Iterable[Schedule], *, include_paused: bool) -> list[Schedule]:
    return [msgspec.structs.replace(row, paused=False) if include_paused else row for row in rows]


def _notes(deployed: Iterable[Deployed], schedules: Iterable[Schedule]) -> list[str]:
    notes = []
    paused = [row.name for row in schedules if row.paused]
    if paused:
        notes.append(f"Paused, so nothing comes of them: {', '.join(paused)}. (--include-paused has them fire.)")
    kept = [each.name for each in deployed if each.paused]
    if kept:
        notes.append(f"Their runs are kept in the queue, for they are paused: {', '.join(kept)}.")
    return notes


def _assumed(deployed: Iterable[Deployed], pasts: Mapping[str, Past]) -> list[str]:
    names = [each.name for each in deployed if each.kind == "flow" and pasts.get(each.name, ASSUMED) is ASSUMED]
    if not names:
        return []
    assumed = f"Never run, so {DEFAULT_SECONDS:g} s each are assumed: {', '.join(names)}."
    return [f"{assumed} (--duration {names[0]}=10m says it.)"]


# --- the past


def _past(store: Store, deployment: str) -> Past:
    which = RunFilter(deployment=deployment, states=sorted(TERMINAL), top_level=True, limit=_LAST)
    return past_of(store.list_runs(which))


def _requests(
    store: Store, results: ResultStore, schedules: Sequence[Schedule], span: Span, notes: list[str]
) -> Iterator[Request]:
    """Say what sensors will ask for: what they have asked for in the past."""
    found: list[Request] = []
    silent: list[str] = []
    for row in schedules:
        if row.kind != "sensor" or row.paused:
            continue
        made = [request for tick in _ticks(store, row.name) if (request := _request(store, results, tick)) is not None]
        found += made
        if not made:
            silent.append(row.name)
    if silent:
        notes.append(f"These sensors have asked for no run lately, so none comes of them: {', '.join(silent)}.")
    yield from _again(found, store.now(), span)


def _ticks(store: Store, schedule: str) -> Iterator[Tick]:
    """Yield ticks, the newest first, as far back as the window goes."""
    before, since = None, store.now() - WINDOW
    count = 0
    while count < _MOST_TICKS:
        page = store.list_ticks(schedule, before=before, limit=_PAGE)
        yield from (tick for tick in page if tick.at >= since)
        count += len(page)
        if len(page) < _PAGE or page[-1].at < since or page[-1].at == before:
            return
        before = page[-1].at


def _request(store: Store, results: ResultStore, tick: Tick) -> Request | None:
    if tick.run_id is None or tick.outcome != "started" or tick.key.startswith(LOOK):
        return None
    try:
        run = store.get_run(tick.run_id)
        parameters: dict[str, Any] = {} if run.parameters is None else results.load(run.parameters)
    except OstinatoError:  # retention has taken it
        return None
    return Request(
        at=tick.at, schedule=tick.schedule, key=tick.key, deployment=run.deployment or run.flow, parameters=parameters
    )


def _events(store: Store, schedules: Sequence[Schedule], span: Span, notes: list[str]) -> Iterator[Told]:
    """Say what users will emit that some schedule wants: what they have emitted in the past."""
    consumers = [row for row in schedules if row.kind in {"event", "condition"} and not row.paused]
    wants = [want for row in consumers for want in wants_of(row).values() if want.flow is None]
    if not wants:
        return
    now, found = store.now(), []
    place, count = _first_since(store, now - WINDOW), 0
    while count < _MOST_EVENTS:
        page = store.list_events(None, after=place, limit=_PAGE)
        for stored in page:
            event = stored.event
            if event.key is not None and any(want.fits(stored, lambda _: ()) for want in wants):
                found.append(Told(at=event.at, kind=event.kind, key=event.key, data=event.data))
        count += len(page)
        if len(page) < _PAGE:
            break
        place = page[-1].id
    if not found:
        names = ", ".join(row.name for row in consumers)
        notes.append(f"No event was emitted in the last four weeks that one of these waits for: {names}.")
    yield from _again(found, now, span)


def _first_since(store: Store, instant: int) -> int:
    """Return the number of the last event before an instant, by halves."""
    low, high = 0, store.newest_event()
    while low < high:
        middle = (low + high) // 2
        page = store.list_events(None, after=middle, limit=1)
        if page and page[0].event.at < instant:
            low = page[0].id
        else:
            high = middle
    return low


def _again(items: list[T], now: int, span: Span) -> list[T]:
    """Take what has happened in the window before `now` as what happens in a span, again and again; in order."""
    begin = now - WINDOW
    found: list[T] = []
    for item in items:
        if item.at >= begin:
            first = item.at + -(-(span.begin - item.at) // WINDOW) * WINDOW
            found += [_moved(item, at) for at in range(first, span.end, WINDOW)]
    return sorted(found, key=lambda item: item.at)


def _moved(item: T, at: int) -> T:
    more = {"key": f"{item.key}@{at}"} if isinstance(item, Request) else {}
    return msgspec.structs.replace(item, at=at, **more)
