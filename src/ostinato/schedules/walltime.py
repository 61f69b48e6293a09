"""From the time that a clock on the wall shows to instants, by one convention for everything.

```
wall time ──┬─ is shown once   ─► that instant
            ├─ in a gap        ─► the first instant after it    (``once``)   none (``skip``, ``each``)
            └─ is shown twice  ─► the first pass     (``once``, ``skip``)    both (``each``)
```

What knows fields, rules and calendars works on wall times only, where there are no gaps and no hour comes twice, and
says which comes next (`Walls`). `Timeline` alone maps these to instants. Wall times and instants are whole seconds
here, both counted from 1970-01-01 00:00; callers count in microseconds.
"""

from __future__ import annotations

import functools
import zoneinfo
from bisect import bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, Protocol

from ostinato.clock import SECOND
from ostinato.errors import DefinitionError, nearest

Dst = Literal["once", "each", "skip"]
"""What becomes of wall times that the clocks' change leaves out or shows twice."""

DAY: Final = 86_400
FIRST: Final = -11_676_096_000
"""1600-01-01: no schedule looks further back."""
LAST: Final = 221_845_392_000
"""9000-01-01: no schedule looks further ahead."""
_HORIZON: Final = 100 * 366 * DAY
"""How far is looked for a wall time that exists: one may always fall into the gap."""
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # wall times have no zone
_CHUNK: Final = 1 << 25
"""Seconds of one table of changes: a bit more than a year."""
_MARGIN: Final = 3 * DAY
"""How far a table reaches over its edges: further than clocks are ever moved."""


class Walls(Protocol):
    """Some wall times, in order."""

    def after(self, wall: int) -> int | None:
        """Return the first one after `wall`."""
        ...

    def before(self, wall: int) -> int | None:
        """Return the last one before `wall`."""
        ...


def wall_of(moment: datetime) -> int:
    """Turn a `datetime` without a zone into a wall time."""
    return (moment - _EPOCH) // timedelta(seconds=1)


def moment_of(wall: int) -> datetime:
    """Turn a wall time into a `datetime` without a zone."""
    return _EPOCH + timedelta(seconds=wall)


class _Changes(NamedTuple):
    """The stretches of time in which a zone's offset stays what it is, over a year and a margin on both sides."""

    begins: list[int]
    """The instant that each begins with."""
    offsets: list[int]
    wall_ends: list[int]
    """What the wall shows when each ends; larger than any if no end is known."""


class Zone:
    """A time zone as tables of its changes, made as they are needed.

    Attributes:
        name: As in the IANA database.
    """

    def __init__(self, name: str, info: tzinfo) -> None:
        self.name = name
        self.info = info
        self._chunks: dict[int, _Changes] = {}

    def offset_at(self, instant: int) -> int:
        """Return how many seconds the wall is ahead of UTC at an instant."""
        changes = self._near(instant)
        return changes.offsets[bisect_right(changes.begins, instant) - 1]

    def wall_at(self, instant: int) -> int:
        """Return what the wall shows at an instant."""
        return instant + self.offset_at(instant)

    def first_pass(self, wall: int) -> tuple[int, bool]:
        """Return the first instant at which the wall shows a time or, where it never does, a later one.

        Returns:
            The instant, and whether the wall shows that very time.
        """
        changes = self._near(wall)
        at = min(bisect_right(changes.wall_ends, wall), len(changes.begins) - 1)
        begin, offset = changes.begins[at], changes.offsets[at]
        return (wall - offset, True) if wall - offset >= begin or at == 0 else (begin, False)

    def shown_by(self, instant: int) -> int:
        """Return the latest wall time whose `first_pass` is at or before an instant."""
        changes = self._near(instant)
        at = bisect_right(changes.begins, instant) - 1
        wall = instant + changes.offsets[at]
        return wall if at == 0 else max(wall, changes.wall_ends[at - 1] - 1)

    def stretch(self, instant: int) -> tuple[int, int, int]:
        """Return begin, end and offset of a stretch around an instant in which the offset stays the same.

        It may be cut short at the edges of a table.
        """
        changes = self._near(instant)
        at = bisect_right(changes.begins, instant) - 1
        edge = (instant // _CHUNK) * _CHUNK
        ends = changes.begins[at + 1] if at + 1 < len(changes.begins) else edge + _CHUNK
        return max(changes.begins[at], edge), min(ends, edge + _CHUNK), changes.offsets[at]

    def _near(self, time: int) -> _Changes:
        chunk = time // _CHUNK
        found = self._chunks.get(chunk)
        if found is None:
            found = self._chunks[chunk] = self._look(chunk * _CHUNK - _MARGIN, (chunk + 1) * _CHUNK + _MARGIN)
        return found

    def _look(self, first: int, last: int) -> _Changes:
        """Find the changes between two instants; there are never two within a day."""
        offset = self._ask(first)
        begins, offsets = [first], [offset]
        for day in range(first, last, DAY):
            if self._ask(day + DAY) != offset:
                low, high = day, day + DAY
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if self._ask(middle) == offset else (low, middle)
                offset = self._ask(high)
                begins.append(high)
                offsets.append(offset)
        wall_ends = [end + before for end, before in zip(begins[1:], offsets, strict=False)]
        return _Changes(begins, offsets, [*wall_ends, LAST * 2])

    def _ask(self, instant: int) -> int:
        offset = (datetime.fromtimestamp(0, UTC) + timedelta(seconds=instant)).astimezone(self.info).utcoffset()
        assert offset is not None  # zoneinfo always has one
        return offset // timedelta(seconds=1)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle by name."""
        return zone, (self.name,)


@functools.cache
def zone(name: str) -> Zone:
    """Return a time zone by its name in the IANA database: ``Europe/Oslo``.

    Raises:
        DefinitionError: If there is none of that name, with the nearest; or no database of zones at all.
    """
    try:
        return Zone(name, UTC if name == "UTC" else zoneinfo.ZoneInfo(name))  # UTC is there without any database
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DefinitionError(_no_zone(name)) from None


def _no_zone(name: object) -> str:
    if not isinstance(name, str):
        return f'timezone must be a name such as "Europe/Oslo", got {name!r}.'
    names = zoneinfo.available_timezones()
    if not names:
        return (
            f"The time zone {name!r} cannot be looked up: this machine has no time zone database. "
            "Install it with: pip install tzdata"
        )
    by_letters = {known.lower(): known for known in names}
    by_city = {known.rpartition("/")[2].lower(): known for known in sorted(names) if "/" in known}
    wanted = name.strip().lower().replace(" ", "_")
    same = by_letters.get(wanted) or by_city.get(wanted)
    hint = f" Did you mean {same!r}?" if same else nearest(name, names)
    return f'There is no time zone {name!r}.{hint} Names are those of the IANA database, such as "Europe/Oslo".'


class Timeline:
    """The instants, in microseconds, at which some wall times come.

    Args:
        walls: The wall times.
        zone: Where the wall is.
        dst: The convention; see the top of this module.
    """

    def __init__(self, walls: Walls, zone: Zone, dst: Dst) -> None:
        self._walls, self._zone, self._dst = walls, zone, dst

    def after(self, instant: int) -> int | None:
        """Return the first instant after one."""
        second = instant // SECOND
        found = self._shown_after(second) if self._dst == "each" else self._first_after(second)
        return None if found is None else found * SECOND

    def before(self, instant: int) -> int | None:
        """Return the last instant before one."""
        second = -(-instant // SECOND) - 1
        found = self._shown_up_to(second) if self._dst == "each" else self._first_up_to(second)
        return None if found is None else found * SECOND

    def _first_after(self, second: int) -> int | None:
        wall = first = self._walls.after(self._zone.shown_by(second))
        while wall is not None and first is not None and wall < first + _HORIZON:
            instant, shown = self._zone.first_pass(wall)
            if shown or self._dst == "once":
                return instant
            wall = self._walls.after(self._zone.wall_at(instant) - 1)  # on behind the gap
        return None

    def _first_up_to(self, second: int) -> int | None:
        wall = first = self._walls.before(self._zone.shown_by(second) + 1)
        while wall is not None and first is not None and wall > first - _HORIZON:
            instant, shown = self._zone.first_pass(wall)
            if shown or self._dst == "once":
                return instant
            wall = self._walls.before(self._zone.wall_at(instant - 1) + 1)  # on before the gap
        return None

    def _shown_after(self, second: int) -> int | None:
        """Go through the stretches without a change: within one, walls and instants run alike."""
        limit = LAST
        while second < limit:
            _, end, offset = self._zone.stretch(second + 1)
            wall = self._walls.after(second + offset)
            if wall is not None and wall - offset < end:
                return wall - offset
            # a change that is two days off shows nothing again that has been looked at: on to the next match
            far = end - second > 2 * DAY
            if wall is None and far:
                return None
            second = max(end - 1, wall - 2 * DAY) if wall is not None and far else end - 1
            limit = limit if wall is None else min(limit, wall + _HORIZON)
        return None

    def _shown_up_to(self, second: int) -> int | None:
        limit = FIRST
        while second > limit:
            begin, _, offset = self._zone.stretch(second)
            wall = self._walls.before(second + offset + 1)
            if wall is not None and wall - offset >= begin:
                return wall - offset
            far = second - begin > 2 * DAY
            if wall is None and far:
                return None
            second = min(begin - 1, wall + 2 * DAY) if wall is not None and far else begin - 1
            limit = limit if wall is None else max(limit, wall - _HORIZON)
        return None
