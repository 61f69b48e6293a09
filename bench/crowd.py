"""Eight processes committing to one database at the same time, for a few seconds.

Each runs a flow that gathers async tasks that do nothing, 50 at a time; all begin together. Beside it, in the same
run: eight processes that commit batches of 50 rows straight through the store (the floor), and chains of one task
after the other, which show whether a process that waits for each commit starves.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.figure import Figure, Target
from bench.ground import answer, read_answer

from ostinato import current, flow, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.ground import Database, Ground

TITLE = "(g) Eight processes committing to one database"
_PROCESSES, _AT_ONCE = 8, 50
_TARGETS = {"SQLite": 4_000, "PostgreSQL": 8_000}


@task
def nothing(number: int) -> int:
    """Do nothing."""
    return number


@task
async def nothing_async(number: int) -> int:
    """Do nothing."""
    return number


@flow
async def gathering(seconds: float) -> int:
    """Gather 50 tasks, again and again; return how many there were."""
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        await asyncio.gather(*[nothing_async(number) for number in range(done, done + _AT_ONCE)])
        done += _AT_ONCE
    return done


@flow
def chaining(seconds: float) -> int:
    """Run one task after the other; return how many there were."""
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        nothing(done)
        done += 1
    return done


@flow
def one() -> str:
    """Record one task run and return the run's id."""
    nothing(1)
    return current.run_id


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    return [figure for database in ground.databases() for figure in _on(ground, database)]


def _on(ground: Ground, database: Database) -> list[Figure]:
    seconds = ground.size(4, 1)
    rounds = [
        {kind: _together(ground, database, kind, seconds) for kind in ("store", "gather", "chain")}
        for _ in range(ground.rounds(3))
    ]

    def rates(kind: str) -> tuple[float, ...]:
        return tuple(sum(each[kind]) / seconds for each in rounds)

    def fairness(kind: str) -> tuple[float, ...]:
        return tuple(min(each[kind]) / max(each[kind]) for each in rounds)

    def figure(name: str, unit: str, values: tuple[float, ...], **more: Any) -> Figure:
        return Figure(f"{database.kind}: {name}", unit, values, database.durability, **more)

    floor: dict[str, Any] = {"floor": rates("store"), "floor_name": "8 x the store alone, batches of 50"}
    target = Target(_TARGETS[database.kind], "≥")
    return [
        figure("8 x gather of 50, tasks in all", "/s", rates("gather"), **floor, target=target),
        figure("8 x gather of 50, slowest of quickest", "", fairness("gather"), target=Target(0.5, "≥")),
        figure("8 x chain, tasks in all", "/s", rates("chain")),
        figure("8 x chain, slowest of quickest", "", fairness("chain"), target=Target(0.5, "≥")),
    ]


def _together(ground: Ground, database: Database, kind: str, seconds: int) -> list[int]:
    """Let eight processes begin together; return what each did."""
    processes = [ground.spawn("crowd", kind, seconds, database=database) for _ in range(_PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"A process of the {kind} crowd did not begin.")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [int(read_answer(process.communicate()[0])) for process in processes]


def _commits() -> Callable[[float], int]:
    from bench.floor import copies, through_store

    from ostinato.settings import load_settings
    from ostinato.store.open import open_store

    settings = load_settings()
    store = open_store(settings.database_url, durability=settings.durability, lease=3600)
    row = next(iter(store.load(one())))

    def committing(seconds: float) -> int:
        write = through_store(store)
        until, done = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            write(copies(row, write.run_id, done, _AT_ONCE))  # type: ignore[attr-defined]
            done += _AT_ONCE
        return done

    return committing


def main(kind: str, seconds: float) -> None:
    """Take part, as one of the processes."""
    acts: dict[str, Callable[[float], int]] = {
        "gather": lambda seconds: asyncio.run(gathering(seconds)),
        "chain": chaining,
    }
    act = _commits() if kind == "store" else acts[kind]
    act(0.05)  # what is loaded when first needed
    print("ready", flush=True)
    sys.stdin.readline()
    answer(act(seconds))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
