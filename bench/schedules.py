"""Ten thousand schedules that are due at the same second, and what it costs to know when one is due next.

A server in a process of its own, as `ostinato server` runs it; the schedules fire every 20 seconds. What is timed is
from the instant they are meant for until every one of them is decided and its run stored, as another process sees it in
the database. The floor is the same rows put by hand, in as few statements, with nothing else going on.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.system import Program

from ostinato.clock import SECOND
from ostinato.ids import new_id
from ostinato.records import Run, RunFilter
from ostinato.schedules import Cron, Every, next_after, to_spec
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.timing import Decision, Schedule, ScheduleFilter, Tick, Timing
from ostinato.work import Deployed, Project

if TYPE_CHECKING:
    from bench.ground import Database, Ground

    from ostinato.schedules import When
    from ostinato.store.store import Store

TITLE = "(l) Schedules"
_EVERY = 20 * SECOND
_PAGE = 500


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    count = ground.size(10_000, 1000)
    figures = [_due(ground, database, count) for database in ground.databases()]
    for name, when in (
        ("cron, each minute", Cron("* * * * *")),
        ("cron, workdays at 06:00 in Oslo", Cron("0 6 * * 1-5", timezone="Europe/Oslo")),
        ("every 5 minutes", Every(minutes=5)),
    ):
        values = tuple(_next_after(when) for _ in range(ground.rounds(5)))
        figures.append(Figure(f"`next_after`: {name}", "µs", values))
    return figures


def _due(ground: Ground, database: Database, count: int) -> Figure:
    store = open_store(database.url, durability=database.durability)
    try:
        _deploy(store, count)
        server = Program(ground, ground.place(), database, "server", "--port", "0")
        try:
            values = [_round(store, count) for _ in range(ground.rounds(4) + 1)][1:]
        finally:
            server.end()
        floor = [_by_hand(store) for _ in range(ground.rounds(3))]
    finally:
        store.close()
    return Figure(
        f"{database.kind}: {count:,} schedules due at once, until the last run is stored",
        "s",
        tuple(values),
        database.durability,
        (statistics.median(floor),),
        "the same rows, nothing else",
        Target(2.0),
    )


def _deploy(store: Store, count: int) -> None:
    spec = to_spec(Cron("*/20 * * * * *"))
    schedules = [Schedule(name=f"s{number:05}", deployment="f", spec=spec) for number in range(count)]
    deployed = Deployed(name="f", flow="f", project="bench", target="/bench/flows.py:f")
    store.put_project(Project(name="bench", root="/bench", host="here"), [deployed], Timing(schedules=schedules))


def _round(store: Store, count: int) -> float:
    """Return the seconds from the next instant until all are decided."""
    now = store.now()
    instant = now - now % _EVERY + _EVERY
    if instant - now < 8 * SECOND:  # it has the time that it has every minute to prepare
        instant += _EVERY
    time.sleep((instant - store.now()) / SECOND)
    while (store.survey().next_look_at or 0) <= instant:
        time.sleep(0.01)
    taken = (store.now() - instant) / SECOND
    made = [run for run in store.list_runs(RunFilter(limit=count + 1)) if run.scheduled_at == instant]
    if len(made) != count:
        raise AssertionError(f"{len(made)} runs of {count} were made")
    return taken


def _by_hand(store: Store) -> float:
    """Return the seconds that the same rows take, made before."""
    rows = store.list_schedules(ScheduleFilter(limit=100_000))
    now, decisions = store.now(), list[Decision]()
    for number, row in enumerate(rows):
        run_id = new_id(now + 1000 * number)
        run = Run(
            id=run_id, flow="f", state=State.QUEUED, lineage=run_id, created_at=now, pool="default", deployment="f",
            created_by=f"schedule:{row.name}", scheduled_at=now, parameters=b"x" * 40,
        )  # fmt: skip
        tick = Tick(schedule=row.name, key=str(now), scheduled_at=now, outcome="started", run_id=run_id)
        decisions.append(
            Decision(schedule=row.name, turn=row.turn, ticks=[tick], runs=[run], since=now, next_at=row.next_at)
        )
    begun = time.perf_counter()
    for start in range(0, len(decisions), _PAGE):
        store.decide(decisions[start : start + _PAGE])
    return time.perf_counter() - begun


def _next_after(when: When) -> float:
    """Return the microseconds of one question, over a long time."""
    instant, count = 1_750_000_000 * SECOND, 5000
    begun = time.perf_counter()
    for _ in range(count):
        instant = next_after(when, instant) or 0
    return (time.perf_counter() - begun) / count * 1e6
