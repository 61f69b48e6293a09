"""10,000 tasks that do nothing, all at once: async by ``gather``, sync by ``submit`` on threads, sync by ``map``.

The time runs inside the flow's body from the first call until the last result is there. The floor is the bare driver
writing as many such rows in batches of 1,000, which is about what group commit makes of it.
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

TITLE = "(b) 10,000 tasks that do nothing, at once"
_BATCH = 1000


@task
def nothing(number: int) -> int:
    """Do nothing."""
    return number


@task
async def nothing_async(number: int) -> int:
    """Do nothing."""
    return number


@flow
async def gathered(count: int) -> float:
    """Return the seconds that async tasks took."""
    begun = time.perf_counter()
    await asyncio.gather(*[nothing_async(number) for number in range(count)])
    return time.perf_counter() - begun


@flow
def submitted(count: int) -> float:
    """Return the seconds that sync tasks took on threads."""
    begun = time.perf_counter()
    for future in [nothing.submit(number) for number in range(count)]:
        future.result()
    return time.perf_counter() - begun


@flow
def mapped(count: int) -> float:
    """Return the seconds that a map of sync tasks took."""
    begun = time.perf_counter()
    nothing.map(range(count)).wait()
    return time.perf_counter() - begun


@flow
def one() -> str:
    """Record one task run and return the run's id."""
    nothing(1)
    return current.run_id


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    return [figure for database in ground.databases() for figure in _on(ground, database)]


def _on(ground: Ground, database: Database) -> list[Figure]:
    count = ground.size(10_000, 2_000)
    other = ground.sqlite() if database.kind == "SQLite" else ground.postgres()
    assert other is not None
    got = columns(ground.child("fanout", ground.rounds(7), count, other.url, database=database))
    rates = {name: tuple(count / seconds for seconds in values) for name, values in got.items()}
    driver = "sqlite3, batches of 1,000" if database.kind == "SQLite" else "COPY, batches of 1,000"
    quick = 15_000 if database.kind == "SQLite" else 10_000

    def figure(name: str, key: str, bound: int) -> Figure:
        return Figure(
            f"{database.kind}: {name}", "/s", rates[key], database.durability, rates["bare"], driver, Target(bound, "≥")
        )

    return [
        figure("async tasks, gather", "gathered", quick),
        figure("sync tasks on threads, submit", "submitted", 8_000),
        figure("sync tasks on threads, map", "mapped", 8_000),
    ]


def main(rounds: int, count: int, beside: str) -> None:
    """Measure, in a child process."""
    from bench.floor import Writer, bare

    from ostinato.settings import load_settings
    from ostinato.store.open import open_store

    settings = load_settings()
    store = open_store(settings.database_url, durability=settings.durability)
    row = next(iter(store.load(one())))
    store.close()
    driver = Writer(bare(beside, settings.durability), row)
    found = [
        {
            "bare": driver.seconds(count, _BATCH),
            "gathered": asyncio.run(gathered(count)),
            "submitted": submitted(count),
            "mapped": mapped(count),
        }
        for _ in range(rounds + 1)
    ]
    answer(found[1:])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
