"""Workers and work pools of a simulation: which run is claimed next, and by whom.

The rules are those of `ostinato.store.claiming`: the highest priority first, then whoever was queued first; a work pool
that is full or paused keeps its runs; one that does not fit into what a worker has free lets others pass. (A run that
waits for room for half a minute is not overtaken any more; that rule is left out.)
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ostinato.resources import amounts_of, fits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostinato.records import Run
    from ostinato.simulate.scene import Crew
    from ostinato.work import Pool

_Item = tuple[int, int, "Run"]
_NOTHING: dict[str, float] = {}


@dataclass(slots=True)
class Worker:
    """One worker."""

    free: int
    pools: frozenset[str]
    """None for all."""
    room: dict[str, float] | None
    """None for whatever is asked for."""

    def serves(self, pool: str) -> bool:
        """Tell whether it takes runs of a work pool."""
        return not self.pools or pool in self.pools

    def takes(self, wanted: Mapping[str, float]) -> bool:
        """Take a run if it fits."""
        if self.free <= 0 or not (self.room is None or fits(wanted, self.room)):
            return False
        self.free -= 1
        self._change(wanted, -1)
        return True

    def give_back(self, wanted: Mapping[str, float]) -> None:
        """Have again what a run took."""
        self.free += 1
        self._change(wanted, 1)

    def _change(self, wanted: Mapping[str, float], sign: int) -> None:
        if self.room is not None:
            for name, amount in wanted.items():
                self.room[name] += sign * amount


@dataclass(slots=True)
class Line:
    """The tickets of one work pool."""

    pool: str
    slots: int | None = None
    paused: bool = False
    used: int = 0
    items: list[_Item] = field(default_factory=list)
    cause: str | None = None
    """Why its first is not claimed."""
    since: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    """How long each cause has held."""

    def note(self, cause: str | None, now: int) -> None:
        """Note why its first is not claimed from now on."""
        self.settle(now)
        self.cause = cause

    def settle(self, now: int) -> None:
        """Count the cause up to now."""
        if self.cause is not None and now > self.since:
            self.sums[self.cause] = self.sums.get(self.cause, 0) + now - self.since
        self.since = now

    def is_open(self) -> bool:
        """Tell whether runs of the pool may begin."""
        return not self.paused and (self.slots is None or self.used < self.slots)


class Crews:
    """All workers and lines.

    Args:
        crews: The workers.
        pools: What is declared of pools.
    """

    def __init__(self, crews: Sequence[Crew], pools: Sequence[Pool]) -> None:
        self.workers = [
            Worker(crew.slots, frozenset(crew.pools), None if crew.resources is None else dict(crew.resources))
            for crew in crews
            for _ in range(crew.workers)
        ]
        self.slots = self.free = sum(worker.free for worker in self.workers)
        self.waiting = 0
        """How many tickets there are."""
        self.lines: dict[str, Line] = {}
        self._declared = {pool.name: pool for pool in pools}
        self._at: dict[str, Worker] = {}
        self._tickets = 0

    def line(self, pool: str) -> Line:
        """Return a pool's line."""
        line = self.lines.get(pool)
        if line is None:
            declared = self._declared.get(pool)
            line = self.lines[pool] = Line(pool)
            if declared is not None:
                line.slots, line.paused = declared.slots, declared.paused
        return line

    def put(self, run: Run, priority: int) -> Line:
        """Give a run its ticket."""
        line = self.line(run.pool or "")
        self._tickets += 1
        self.waiting += 1
        heapq.heappush(line.items, (-priority, self._tickets, run))
        return line

    def remove(self, run: Run) -> None:
        """Take the ticket of a run away that is not to begin."""
        line = self.line(run.pool or "")
        kept = [item for item in line.items if item[2] is not run]
        self.waiting -= len(line.items) - len(kept)
        heapq.heapify(kept)
        line.items = kept

    def claim(self) -> list[Run]:
        """Let begin whatever can, in order."""
        found: list[Run] = []
        passed: list[tuple[Line, _Item]] = []
        closed: set[str] = set()
        while self.free > 0:
            ready = [line for line in self.lines.values() if line.items and line.pool not in closed and line.is_open()]
            if not ready:
                break
            line = min(ready, key=lambda each: each.items[0][:2]) if len(ready) > 1 else ready[0]
            item = heapq.heappop(line.items)
            if self._take(line, item[2]):
                found.append(item[2])
            else:
                passed.append((line, item))
                if not any(worker.free and worker.serves(line.pool) for worker in self.workers):
                    closed.add(line.pool)
        for line, item in passed:
            heapq.heappush(line.items, item)
        self.waiting -= len(found)
        return found

    def cause(self, line: Line) -> str | None:
        """Say why the first of a line, after all were claimed that can be, is not."""
        if not line.items:
            return None
        if line.paused:
            return f"pool {line.pool} is paused"
        if not line.is_open():
            return f"pool {line.pool}"
        serving = [worker for worker in self.workers if worker.serves(line.pool)]
        if not serving:
            return f"nobody serves {line.pool}"
        return "resources" if any(worker.free for worker in serving) else "workers"

    def give_back(self, run: Run) -> None:
        """Have the slot of a run again."""
        self._at.pop(run.id).give_back(_wanted(run))
        self.lines[run.pool or ""].used -= 1
        self.free += 1

    def _take(self, line: Line, run: Run) -> bool:
        wanted = _wanted(run)
        for worker in self.workers:
            if worker.free and worker.serves(line.pool) and worker.takes(wanted):
                self._at[run.id] = worker
                line.used += 1
                self.free -= 1
                return True
        return False


def _wanted(run: Run) -> Mapping[str, float]:
    return _NOTHING if run.resources is None else amounts_of(run.resources)
