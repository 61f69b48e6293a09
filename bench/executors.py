"""Round trips per second of the executors, beside the pools of the standard library, in one run.

``python bench/executors.py [COUNT]``. One thread submits no-ops and waits until the last has told its end;
"one by one" waits for each before the next. The figure is the best of three.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from ostinato.context import Ended
from ostinato.executors import make_executor

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor as Pool

    from ostinato.context import Executor

NOTHING = partial(Ended, started_at=0, finished_at=0)


def rate(count: int, all_at_once: Callable[[int], None]) -> float:
    """Return the most round trips a second of three tries."""
    best = 0.0
    for _ in range(3):
        begin = time.perf_counter()
        all_at_once(count)
        best = max(best, count / (time.perf_counter() - begin))
    return best


def ours(executor: Executor, count: int) -> None:
    """Submit all, wait for the last."""
    told: list[None] = []
    ended = threading.Event()

    def done(_: Ended) -> None:
        told.append(None)
        if len(told) == count:
            ended.set()

    for _ in range(count):
        executor.submit(NOTHING, done)
    ended.wait()


def ours_one_by_one(executor: Executor, count: int) -> None:
    """Submit one, wait for it, and again."""
    told = threading.Semaphore(0)
    for _ in range(count):
        executor.submit(NOTHING, lambda _: told.release())
        told.acquire()


def theirs(pool: Pool, count: int) -> None:
    """Submit all, wait for all."""
    for future in [pool.submit(NOTHING) for _ in range(count)]:
        future.result()


def theirs_one_by_one(pool: Pool, count: int) -> None:
    """Submit one, wait for it, and again."""
    for _ in range(count):
        pool.submit(NOTHING).result()


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"{'':34}{'all at once':>14}{'one by one':>14}   round trips/s")
    for name, slots, share in (("inline", 1, 1), ("threads", 1, 1), ("threads", 6, 1), ("processes", 2, 4)):
        executor = make_executor(name, slots)
        ours(executor, 100)
        figures = (
            rate(count // share, partial(ours, executor)),
            rate(count // share, partial(ours_one_by_one, executor)),
        )
        executor.close()
        print(f"{f'ostinato {name}, {slots} slots':34}{figures[0]:14,.0f}{figures[1]:14,.0f}")
    for kind, slots, share in ((ThreadPoolExecutor, 1, 1), (ThreadPoolExecutor, 6, 1), (ProcessPoolExecutor, 2, 4)):
        with kind(slots) as pool:
            theirs(pool, 100)
            figures = (
                rate(count // share, partial(theirs, pool)),
                rate(count // share, partial(theirs_one_by_one, pool)),
            )
        print(f"{f'{kind.__name__}, {slots} slots':34}{figures[0]:14,.0f}{figures[1]:14,.0f}")
    first()


def first() -> None:
    """Print how long the first result of a new process takes."""
    executor = make_executor("processes", 1)
    begin = time.perf_counter()
    ours(executor, 1)
    print(f"first result of a new process: {(time.perf_counter() - begin) * 1000:.0f} ms")
    executor.close()


if __name__ == "__main__":
    main()
