"""Series of instants, and what narrows, joins and lists them. Nothing here knows wall times.

An instant is counted in microseconds since 1970-01-01 UTC. A series may be endless on both sides.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Series(Protocol):
    """Some instants, in order."""

    def after(self, instant: int, /) -> int | None:
        """Return the first one after `instant`."""
        ...

    def before(self, instant: int, /) -> int | None:
        """Return the last one before `instant`."""
        ...


class Periodic:
    """Every so many microseconds, counted from an anchor in both directions."""

    def __init__(self, interval: int, anchor: int) -> None:
        self._interval, self._anchor = interval, anchor

    def after(self, instant: int) -> int:
        """Return the first one after `instant`."""
        return instant + self._interval - (instant - self._anchor) % self._interval

    def before(self, instant: int) -> int:
        """Return the last one before `instant`."""
        return instant - 1 - (instant - 1 - self._anchor) % self._interval


class Listed:
    """Just these."""

    def __init__(self, instants: Iterable[int]) -> None:
        self._instants = sorted(set(instants))

    def after(self, instant: int) -> int | None:
        """Return the first one after `instant`."""
        at = bisect_right(self._instants, instant)
        return self._instants[at] if at < len(self._instants) else None

    def before(self, instant: int) -> int | None:
        """Return the last one before `instant`."""
        at = bisect_left(self._instants, instant)
        return self._instants[at - 1] if at else None


class Union:
    """What any of several series has; what two have is there once."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series

    def after(self, instant: int) -> int | None:
        """Return the first one after `instant`."""
        return min((found for one in self._series if (found := one.after(instant)) is not None), default=None)

    def before(self, instant: int) -> int | None:
        """Return the last one before `instant`."""
        return max((found for one in self._series if (found := one.before(instant)) is not None), default=None)


class Bounded:
    """What a series has from one instant to another, both included."""

    def __init__(self, series: Series, start: int | None, end: int | None) -> None:
        self._series, self._start, self._end = series, start, end

    def after(self, instant: int) -> int | None:
        """Return the first one after `instant`."""
        found = self._series.after(instant if self._start is None else max(instant, self._start - 1))
        return None if found is None or (self._end is not None and found > self._end) else found

    def before(self, instant: int) -> int | None:
        """Return the last one before `instant`."""
        found = self._series.before(instant if self._end is None else min(instant, self._end + 1))
        return None if found is None or (self._start is not None and found < self._start) else found
