"""Runs asked for from outside: a server, a worker of four slots and a client share two cores.

Everything is timed from the client's side of HTTP, or by what the flows write into a file, against the same clock. The
floor of a trigger is a request to the same server that does nothing; that of a chain the database driver's own commit.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.ground import columns
from bench.system import System

if TYPE_CHECKING:
    from bench.ground import Database, Ground

TITLE = "(i) Through the server"


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    return [figure for database in ground.databases() for figure in _on(ground, database)]


def _on(ground: Ground, database: Database) -> list[Figure]:
    with System(ground, database) as system:
        for number in range(8):  # every slot's process is warm then
            system.finish(system.start("one", number=-1 - number))
        nothing, triggers = _triggers(system, ground.size(200, 40))
        chain = _chain(system, ground.rounds(5), ground.size(1000, 200))
        fibonacci = _fibonacci(system, ground.rounds(5))
        rate = [_rate(system, ground.size(1500, 300)) for _ in range(ground.rounds(3))]
    with System(ground, database, slots=1, OSTINATO_SLOTS="0") as system:
        cold = _cold(system, ground.rounds(5))
    ordered = sorted(triggers)
    p95 = ordered[int(len(ordered) * 0.95)]
    bare = _bare(ground, database)

    def figure(name: str, unit: str, values: list[float], target: Target | None, floor: list[float], of: str) -> Figure:
        return Figure(f"{database.kind}: {name}", unit, tuple(values), database.durability, tuple(floor), of, target)

    return [
        figure("trigger by API to the first line, warm, median", "ms", triggers, Target(15), nothing, "empty request"),
        figure("the same, 95th percentile", "ms", [p95], Target(40), [statistics.median(nothing)], "empty request"),
        figure("the same, a process that was just started", "ms", cold, Target(700), [], ""),
        figure("chain, a task", "µs", chain, Target(1000), bare, "bare driver's commit"),
        figure("40 x fibo(10), request to last line", "ms", fibonacci, Target(200), [], ""),
        figure("one-task runs", "/s", rate, Target(300, "≥"), [], ""),
    ]


def _triggers(system: System, count: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of empty requests, and of triggers to the first line of user code."""
    nothing, begun = [], {}
    for number in range(count):
        at = time.time()
        system.ask("GET", "/api/health")
        nothing.append((time.time() - at) * 1e3)
        begun[number] = time.time()
        run_id = system.start("one", path=str(system.ledger), number=number)
        system.finish(run_id)
    told = system.told()
    return nothing, [(told[number] - at) * 1e3 for number, at in begun.items()]


def _chain(system: System, rounds: int, count: int) -> list[float]:
    return [system.finish(system.start("chain", count=count)) / count * 1e6 for _ in range(rounds + 1)][1:]


def _fibonacci(system: System, rounds: int) -> list[float]:
    found = []
    for number in range(10_000, 10_001 + rounds):
        at = time.time()
        system.finish(system.start("fibonacci", path=str(system.ledger), number=number))
        found.append((system.told()[number] - at) * 1e3)
    return found[1:]


def _rate(system: System, count: int) -> float:
    """Start runs as fast as the API takes them, and wait until the last has ended; runs a second."""
    begun = time.perf_counter()
    for number in range(count):
        system.start("one", number=number)

    def is_over() -> bool:
        found = [system.ask("GET", f"/api/runs?state={state}&limit=1")["items"] for state in ("queued", "running")]
        return not any(found)

    system.until(is_over, "the last runs to end", pause=0.05)  # looking costs the server time too
    return count / (time.perf_counter() - begun)


def _cold(system: System, rounds: int) -> list[float]:
    """Return the milliseconds from the trigger to the first line where no process is warm: it was just killed."""
    import psutil  # comes with what is measured

    found = []
    for number in range(20_000, 20_000 + rounds):
        for child in psutil.Process(system.workers[0].process.pid).children(recursive=True):
            child.kill()
        at = time.time()
        system.finish(system.start("one", path=str(system.ledger), number=number))
        found.append((system.told()[number] - at) * 1e3)
    return found


def _bare(ground: Ground, database: Database) -> list[float]:
    count = 300
    beside = ground.sqlite() if database.kind == "SQLite" else ground.postgres()
    assert beside is not None
    got = columns(ground.child("chain", ground.rounds(3), count, beside.url, database=beside))
    return [seconds / count * 1e6 for seconds in got["bare"]]
