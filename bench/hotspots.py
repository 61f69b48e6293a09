"""Where the time goes: profiles of the chain and the fan-out, ``python bench/hotspots.py [NAME ...] [--top COUNT]``.

`cProfile` of every thread of one process by the thread's own processor time, so that what waits (for the disk, for
another thread) does not count; after a first run that loads everything. First what a task takes without the profiler,
by the clock and by the processor: what is between the two is the disk, mostly. Then the share of each of Ostinato's
floors and of the driver, then the costliest functions. The profiler triples what small functions cost, so shares are
to be believed and microseconds are not.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from bench.chain import chain  # noqa: E402  after the path is set
from bench.fanout import gathered, mapped, submitted  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

ACTS: dict[str, tuple[Callable[[], float], int]] = {
    "chain": (lambda: chain(2_000), 2_000),
    "gather": (lambda: asyncio.run(gathered(10_000)), 10_000),
    "submit": (lambda: submitted(10_000), 10_000),
    "map": (lambda: mapped(10_000), 10_000),
}


def main() -> None:
    """Print the profiles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ACTS, []], metavar="NAME", help=", ".join(ACTS))
    parser.add_argument("--top", type=int, default=25, help="how many functions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"OSTINATO_HOME": home, "OSTINATO_DISPLAY": "none"}
        for name in options.names or ACTS:
            act, count = ACTS[name]
            act()
            begun = time.process_time()
            plain = act() / count * 1e6
            busy = (time.process_time() - begun) / count * 1e6
            print(f"\n{name}: {plain:.1f} µs a task by the clock, {busy:.1f} µs by the processor\n")
            _show(_profiled(act), count, options.top)


def _profiled(act: Callable[[], object]) -> pstats.Stats:
    """Profile an act in all of its threads: those that begin during it, and this one."""
    profiles: list[cProfile.Profile] = []

    def begin(*_: Any) -> None:
        sys.setprofile(None)
        each = cProfile.Profile(time.thread_time)
        profiles.append(each)
        each.enable()

    threading.setprofile(begin)
    own = cProfile.Profile(time.thread_time)
    own.enable()
    try:
        act()
    finally:
        own.disable()
        threading.setprofile(None)
    stats = pstats.Stats(own)
    for each in profiles:
        each.create_stats()
        stats.add(each)
    return stats


def _show(stats: pstats.Stats, count: int, top: int) -> None:
    spent: Counter[str] = Counter()
    own: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (file, line, function), (_, times, self_time, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        spent[_floor(file, function)] += self_time
        name = f"{_short(file)}:{line} {function}" if line else function
        own[name] += self_time
        calls[name] += times
    whole = sum(spent.values())
    for name, seconds in spent.most_common():
        print(f"  {seconds / whole:5.1%}  {name}")
    print()
    for name, seconds in own.most_common(top):
        print(f"  {seconds / whole:5.1%}  {seconds / count * 1e6:7.2f} µs  {calls[name] / count:6.2f} calls  {name}")


def _floor(file: str, function: str) -> str:
    if "sqlite3" in function:
        return "the driver (sqlite3)"
    if "flock" in function or "posix.stat" in function:
        return "file lock, looking at the file"
    parts = Path(file).parts
    if "ostinato" in parts:
        inner = parts[len(parts) - parts[::-1].index("ostinato") :]
        return f"ostinato.{inner[0].removesuffix('.py')}"
    return "asyncio" if "asyncio" in parts else "Python's own"


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


if __name__ == "__main__":
    main()
