"""A map over 1,000,000 items: how fast, and how much memory it needs beyond a map of 1,000 in the same process.

Each kind of iterable has a process of its own. The floor is the bare driver writing 100,000 such rows in batches of
128, as many as a map has under way.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.ground import answer

from ostinato import current, flow, task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.ground import Ground

TITLE = "(d) A map over 1,000,000 items"


@task
def nothing(number: int) -> int:
    """Do nothing."""
    return number


def generated(count: int) -> Iterator[int]:
    """Yield numbers, and never say how many there will be."""
    yield from range(count)


@flow
def mapped(count: int, kind: str) -> str:
    """Map over a list, or over a generator."""
    items: Iterable[int] = generated(count) if kind == "generator" else list(range(count))
    nothing.map(items).wait()
    return current.run_id


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    count = ground.size(1_000_000, 50_000)
    figures = []
    for kind in ("list", "generator"):
        database, other = ground.sqlite(), ground.sqlite()
        got = ground.child("million", count, kind, other.url, database=database)
        name = f"SQLite: {count:,} items of a {kind}"
        figures += [
            Figure(
                f"{name}, items", "/s", (count / got["seconds"],), database.durability,
                (got["floor"],), "sqlite3, batches of 128", Target(8_000, "≥"),
            ),
            Figure(f"{name}, growth of peak memory", "MB", (got["growth"],), database.durability, target=Target(200)),
        ]  # fmt: skip
    return figures


def main(count: int, kind: str, beside: str) -> None:
    """Measure, in a child process."""
    from bench.floor import Writer, bare
    from bench.machine import peak

    from ostinato.settings import load_settings
    from ostinato.store.open import open_store

    settings = load_settings()
    run_id = mapped(1_000, kind)
    before = peak()
    begun = time.perf_counter()
    mapped(count, kind)
    seconds, growth = time.perf_counter() - begun, peak() - before
    store = open_store(settings.database_url)
    row = next(iter(store.load(run_id)))
    store.close()
    rows = min(count, 100_000)
    floor = rows / Writer(bare(beside, settings.durability), row).seconds(rows, 128)
    answer({"seconds": seconds, "growth": growth, "floor": floor})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
