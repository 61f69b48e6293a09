"""Real work between the commits: ``fibo(10)`` 40 times in a strict chain, and ``fibo(33)`` 10 times.

The whole process is timed from outside, ``python file.py`` with everything byte-compiled and the database existing;
inside one process the call of the flow is timed, with all that opens and ends a run. The floor is the same file
without Ostinato: the bare function called as often.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.figure import Figure, Target
from bench.ground import answer, columns

from ostinato import flow, task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.ground import Database, Ground

TITLE = "(c) fibo(10) x 40 in a strict chain, fibo(33) x 10"

_BARE = """
def fibo(n: int) -> int:
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)

def main() -> None:
    for _ in range({times}):
        fibo({n})

if __name__ == "__main__":
    main()
"""
_FLOW = """
from ostinato import flow, task

def fibo(n: int) -> int:
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)

@task
def number(n: int) -> int:
    return fibo(n)

@flow(executor="{executor}")
def chain() -> None:
    for _ in range({times}):
        number({n})

if __name__ == "__main__":
    chain()
"""


def fibo(n: int) -> int:
    """Return the n-th Fibonacci number, the slow way."""
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)


@task
def number(n: int) -> int:
    """Return the n-th Fibonacci number."""
    return fibo(n)


@flow
def chain(n: int, times: int) -> None:
    """Compute it again and again, one after the other."""
    for _ in range(times):
        number(n)


@flow
def at_once(n: int, times: int) -> None:
    """Compute it as often as wanted, all at once."""
    for future in [number.submit(n) for _ in range(times)]:
        future.result()


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    database = ground.sqlite()
    large = ground.size(33, 25)
    files = _files(ground.place(), large)
    small = _from_outside(ground, database, files, ("bare-10", "flow-10"), ground.rounds(11))
    big = _from_outside(ground, database, files, ("bare-33", "threads-33", "processes-33"), min(ground.rounds(3), 3))
    inside = columns(ground.child("fibonacci", 10, 40, ground.rounds(11), database=database))
    inside_large = columns(ground.child("fibonacci", large, 10, min(ground.rounds(3), 3), "all", database=database))

    def figure(name: str, unit: str, values: Any, floor: Any, target: Target | None = None) -> Figure:
        scale = 1e3 if unit == "ms" else 1
        return Figure(
            name, unit, tuple(v * scale for v in values), database.durability, tuple(v * scale for v in floor),
            "the bare function", target,
        )  # fmt: skip

    return [
        figure("fibo(10) x 40, `python file.py`", "ms", small["flow-10"], small["bare-10"], Target(500)),
        figure("fibo(10) x 40, inside one process", "ms", inside["chain"], inside["bare"], Target(30)),
        figure(f"fibo({large}) x 10 in a chain, `python file.py`, threads", "s", big["threads-33"], big["bare-33"]),
        figure(f"fibo({large}) x 10 in a chain, `python file.py`, processes", "s", big["processes-33"], big["bare-33"]),
        figure(f"fibo({large}) x 10 in a chain, inside, threads", "s", inside_large["chain"], inside_large["bare"]),
        figure(f"fibo({large}) x 10 at once, inside, processes", "s", inside_large["processes"], inside_large["bare"]),
    ]


def _files(place: Path, large: int) -> dict[str, Path]:
    texts = {
        "bare-10": _BARE.format(n=10, times=40),
        "flow-10": _FLOW.format(n=10, times=40, executor="threads"),
        "bare-33": _BARE.format(n=large, times=10),
        "threads-33": _FLOW.format(n=large, times=10, executor="threads"),
        "processes-33": _FLOW.format(n=large, times=10, executor="processes"),
    }
    for name, text in texts.items():
        (place / f"{name}.py").write_text(text, encoding="utf-8")
    return {name: place / f"{name}.py" for name in texts}


def _from_outside(
    ground: Ground, database: Database, files: dict[str, Path], names: tuple[str, ...], rounds: int
) -> dict[str, tuple[float, ...]]:
    """Time whole processes, turn by turn; one round first that makes the bytecode and the database."""

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, str(files[name])], check=True, env=ground.environment(database), cwd=ground.folder
        )
        return time.perf_counter() - begun

    if rounds > 3:
        for name in names:
            seconds(name)
    return columns([{name: seconds(name) for name in names} for _ in range(rounds)])


def main(n: int, times: int, rounds: int, *, everything: bool) -> None:
    """Measure, in a child process."""

    def bare() -> None:
        for _ in range(times):
            fibo(n)

    acts: dict[str, Callable[[], None]] = {"bare": bare, "chain": lambda: chain(n, times)}
    if everything:
        acts["processes"] = lambda: at_once.with_options(executor="processes")(n, times)
    chain(5, times)

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        acts[name]()
        return time.perf_counter() - begun

    answer([{name: seconds(name) for name in acts} for _ in range(rounds)])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), everything=len(sys.argv) > 4)
