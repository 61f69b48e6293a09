"""Numbers that change from instant to instant, kept as averages and peaks of equal parts of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.simulate.outlook import Binding, Stretch

if TYPE_CHECKING:
    from ostinato.simulate.scene import Span

_MOST: Final = 288
"""Parts of the time: five minutes each, of a day."""
LATE: Final = 60 * SECOND
"""A run that begins so much later than it was meant to is late."""


class Meter:
    """How many wait and how many run, over a span of time.

    Args:
        span: The time.
        slots: How many could run.
    """

    def __init__(self, span: Span, slots: int) -> None:
        self.queued = self.running = 0
        self._begin, self._slots = span.begin, slots
        self._width = max(SECOND, -(-(span.end - span.begin) // _MOST))
        self._now, self._end = span.begin, span.end
        count = -(-(span.end - span.begin) // self._width)
        self._sums = [[0, 0] for _ in range(count)]
        self._peaks = [[0, 0] for _ in range(count)]
        self._marks = [[0, 0] for _ in range(count)]

    def move(self, now: int) -> None:
        """Count what holds since the last instant up to this one."""
        now = min(now, self._end)
        while self._now < now:
            part = (self._now - self._begin) // self._width
            until = min(now, self._begin + (part + 1) * self._width)
            span = until - self._now
            sums, peaks = self._sums[part], self._peaks[part]
            sums[0] += self.queued * span
            sums[1] += self.running * span
            peaks[0] = max(peaks[0], self.queued)
            peaks[1] = max(peaks[1], self.running)
            self._now = until

    def mark(self, at: int, late: int) -> None:
        """Note that a run was started."""
        if at < self._end:
            marks = self._marks[(at - self._begin) // self._width]
            marks[0] += 1
            marks[1] += late > LATE

    def stretches(self) -> list[Stretch]:
        """Return the parts."""
        found = []
        for part, (sums, peaks, marks) in enumerate(zip(self._sums, self._peaks, self._marks, strict=True)):
            at = self._begin + part * self._width
            span = min(self._width, self._end - at)
            running = sums[1] / span
            found.append(
                Stretch(
                    at=at,
                    queued=sums[0] / span,
                    most_queued=peaks[0],
                    running=running,
                    most_running=peaks[1],
                    used=running / self._slots,
                    started=marks[0],
                    late=marks[1],
                )
            )
        return found

    def used(self) -> float:
        """Return how much of all slots was in use."""
        return sum(sums[1] for sums in self._sums) / (self._slots * (self._end - self._begin))


class Causes:
    """What runs wait for: how long in all, how many, and for how long anybody did."""

    def __init__(self) -> None:
        self._waited: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._bound: dict[str, int] = {}
        self._holding: dict[str, tuple[int, int]] = {}
        """By cause: how many hold something up now, and since when anything does."""

    def begin(self, cause: str, now: int) -> None:
        """Note that it holds somebody, or one more line, up."""
        count, since = self._holding.get(cause, (0, now))
        self._holding[cause] = (count + 1, since)

    def end(self, cause: str, now: int) -> None:
        """Note that it holds one less up."""
        count, since = self._holding.pop(cause)
        if count > 1:
            self._holding[cause] = (count - 1, since)
        else:
            self._bound[cause] = self._bound.get(cause, 0) + now - since

    def add(self, cause: str, waited: int) -> None:
        """Count a run that has waited for it so long."""
        self._waited[cause] = self._waited.get(cause, 0) + waited
        self._runs[cause] = self._runs.get(cause, 0) + 1

    def close(self, now: int) -> None:
        """Count what still lasts."""
        for cause in list(self._holding):
            while cause in self._holding:
                self.end(cause, now)

    def worst(self) -> list[Binding]:
        """Return the causes, that for which most was waited first."""
        found = [
            Binding(name=name, runs=self._runs[name], waited=waited / SECOND, bound=self._bound.get(name, 0) / SECOND)
            for name, waited in self._waited.items()
        ]
        return sorted(found, key=lambda each: (-each.waited, each.name))
