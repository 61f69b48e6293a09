"""A chain of 1,000 tasks that do nothing, one after the other: what one durable task costs.

The time is taken inside the flow's body, around its calls. Each round measures, in this order and one process, the
bare driver's commit of one such row, the store's, the chain of sync tasks and the chain of async ones.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.ground import answer, columns

from ostinato import current, flow, task

if TYPE_CHECKING:
    from bench.ground import Database, Ground

TITLE = "(a) A chain of 1,000 tasks that do nothing"
_RATIO, _CRASH_SAFE = Target(2, of="ratio"), Target(100)


@task
def nothing(number: int) -> int:
    """Do nothing."""
    return number


@task
async def nothing_async(number: int) -> int:
    """Do nothing."""
    return number


@flow
def chain(count: int) -> float:
    """Return the seconds that sync tasks took, one by one."""
    begun = time.perf_counter()
    for number in range(count):
        nothing(number)
    return time.perf_counter() - begun


@flow
async def chain_async(count: int) -> float:
    """Return the seconds that async tasks took, one by one."""
    begun = time.perf_counter()
    for number in range(count):
        await nothing_async(number)
    return time.perf_counter() - begun


@flow
def one() -> str:
    """Record one task run and return the run's id."""
    nothing(1)
    return current.run_id


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    return [figure for database in ground.databases(crash_safe=True) for figure in _on(ground, database)]


def _on(ground: Ground, database: Database) -> list[Figure]:
    count = ground.size(1000, 300)
    beside = ground.sqlite().url if database.kind == "SQLite" else _url(ground)
    got = columns(ground.child("chain", ground.rounds(9), count, beside, database=database))
    us = {name: tuple(seconds / count * 1e6 for seconds in values) for name, values in got.items()}
    target = _CRASH_SAFE if database.durability == "crash-safe" else _RATIO
    driver = "sqlite3" if database.kind == "SQLite" else "psycopg"

    def figure(name: str, key: str, target: Target | None = None) -> Figure:
        return Figure(f"{database.kind}: {name}", "µs", us[key], database.durability, us["bare"], driver, target)

    return [
        figure("the store's commit of one row", "store"),
        figure("chain, sync, a task", "sync", target),
        figure("chain, async, a task", "async", target),
    ]


def _url(ground: Ground) -> str:
    database = ground.postgres()
    assert database is not None
    return database.url


def main(rounds: int, count: int, beside: str) -> None:
    """Measure, in a child process."""
    from bench.floor import Writer, bare, through_store

    from ostinato.settings import load_settings
    from ostinato.store.open import open_store

    settings = load_settings()
    run_id = one()
    own = open_store(settings.database_url, durability=settings.durability, lease=3600)
    row = next(iter(own.load(run_id)))
    driver = Writer(bare(beside, settings.durability), row)
    stored = Writer(through_store(own), row)
    found = [
        {
            "bare": driver.seconds(count),
            "store": stored.seconds(count),
            "sync": chain(count),
            "async": asyncio.run(chain_async(count)),
        }
        for _ in range(rounds + 1)
    ]
    answer(found[1:])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
