"""When runs are made: values that users write, and pure functions that say when they fire.

```python
Cron("0 6 * * MON-FRI", timezone="Europe/Oslo")         at times of the clock on the wall
Every(minutes=5)   RRule("FREQ=MONTHLY;BYDAY=-1FR")     in steps of time; by a rule of iCalendar
At([datetime(2026, 12, 24, 16)])                        at certain moments
On("orders.landed")   On(load, states=["failed"])       when something happens; when a flow's run ends
a | b    a & b                                          either; once both have happened
```

Give them to ``@flow(schedule=...)`` or ``Deployment(schedule=...)``, one or a list. The functions below are what loops,
commands and the simulation ask; they look at no clock. Instants are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from ostinato.clock import SECOND
from ostinato.errors import DefinitionError, nearest
from ostinato.schedules.calendars import Calendar, business_days
from ostinato.schedules.events import On
from ostinato.schedules.series import Bounded
from ostinato.schedules.spec import from_spec, to_spec
from ostinato.schedules.times import At, Cron, Every, RRule
from ostinato.schedules.walltime import FIRST, LAST, moment_of
from ostinato.schedules.when import AllOf, AnyOf, Kind, When
from ostinato.schedules.words import describe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = [
    "AllOf",
    "AnyOf",
    "At",
    "Calendar",
    "Cron",
    "Every",
    "On",
    "RRule",
    "When",
    "business_days",
    "check_parameters",
    "delay_of",
    "describe",
    "from_spec",
    "happens",
    "instants",
    "kind_of",
    "left_out",
    "next_after",
    "parts",
    "previous_before",
    "refusal",
    "schedules_of",
    "to_spec",
]

_FIRST: Final = FIRST * SECOND
_LAST: Final = LAST * SECOND


def kind_of(schedule: When) -> Kind:
    """Return what a schedule is driven by.

    Returns:
        ``time``; ``event`` for `On`; ``condition`` for any ``&``, and for a ``|`` with an event or an ``&`` in it.
    """
    return schedule.kind


def next_after(schedule: When, instant: int) -> int | None:
    """Return the first instant after one, not at it; None when none will come.

    Start, end and calendar are kept; jitter is not in it. Of a condition: when a time part of it happens next. Of an
    event: None.
    """
    return schedule.series.after(max(instant, _FIRST)) if instant < _LAST else None


def previous_before(schedule: When, instant: int) -> int | None:
    """Return the last instant before one, not at it; None when there was none."""
    return schedule.series.before(min(instant, _LAST)) if instant > _FIRST else None


def instants(schedule: When, after: int, until: int | None = None, limit: int | None = None) -> Iterator[int]:
    """Yield instants, lazily.

    Args:
        schedule: Whose.
        after: The first one is after this.
        until: The last one is at or before this.
        limit: How many at most.
    """
    count, found = 0, next_after(schedule, after)
    while found is not None and (until is None or found <= until) and (limit is None or count < limit):
        yield found
        count, found = count + 1, next_after(schedule, found)


def delay_of(schedule: When, name: str, instant: int) -> int:
    """Return how much later than meant a run begins, by chance, but always the same for one schedule and instant.

    Args:
        schedule: The schedule, for its `jitter`.
        name: The name of its row.
        instant: When it is meant for.

    Returns:
        Microseconds, 0 to `jitter`.
    """
    most = round(float(schedule.jitter) * SECOND)  # type: ignore[arg-type]  # it is a number once it is checked
    if most == 0:
        return 0
    digest = hashlib.blake2b(f"{name}\0{instant}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (most + 1)


def refusal(schedule: When, instant: int) -> str | None:
    """Say why nothing may fire at an instant, because of start, end or calendar; None where it may.

    It is asked for events and conditions; the instants of schedules by time are as they must be.
    """
    begins, ends = schedule.bounds
    if begins is not None and instant < begins:
        return f"it begins at {schedule.start}"
    if ends is not None and instant > ends:
        return f"it ended at {schedule.end}"
    return None if schedule.calendar is None else schedule.calendar.reason(_day_of(schedule, instant))


def left_out(schedule: When, after: int, until: int, limit: int = 100) -> Iterator[tuple[int, str]]:
    """Yield the instants that a calendar leaves out or moves, each with the reason: for `why` and previews.

    Args:
        schedule: Whose.
        after: The first one is after this.
        until: The last one is at or before this.
        limit: How many at most.
    """
    if schedule.calendar is None:
        return
    count, begins_ends = 0, schedule.bounds
    found = (series := Bounded(schedule.with_options(calendar=None).series, *begins_ends)).after(after)
    while found is not None and found <= until and count < limit:
        reason = schedule.calendar.reason(_day_of(schedule, found))
        if reason is not None:
            yield found, reason
            count += 1
        found = series.after(found)


def _day_of(schedule: When, instant: int) -> Any:
    return moment_of(schedule.zone.wall_at(instant // SECOND)).date()


# --- combinations


def parts(schedule: When) -> dict[str, When]:
    """Return the leaves of a combination by their paths: ``"0"``, ``"1.0"``; of another schedule, itself at ``""``."""
    return dict(_leaves(schedule, ""))


def _leaves(schedule: When, path: str) -> Iterator[tuple[str, When]]:
    if not isinstance(schedule, (AnyOf, AllOf)):
        yield path, schedule
        return
    for at, part in enumerate(schedule.of):
        yield from _leaves(part, f"{path}.{at}" if path else str(at))


def happens(schedule: When, memory: frozenset[str], part: str) -> tuple[bool, frozenset[str]]:
    """Say whether a combination fires, now that one of its parts has happened.

    Each ``&`` remembers which of its parts have happened since it fired last; a ``|`` remembers nothing.

    Args:
        schedule: The combination.
        memory: What was returned before, at first ``frozenset()``.
        part: The path of the part, as in `parts`.

    Returns:
        Whether it fires, and what to remember.
    """
    if not isinstance(schedule, (AnyOf, AllOf)):
        return True, memory
    step, _, rest = part.partition(".")
    at = int(step)
    inner = frozenset(path.partition(".")[2] for path in memory if path.startswith(f"{at}."))
    fires, inner = happens(schedule.of[at], inner, rest)
    kept = frozenset(path for path in memory if not path.startswith(f"{at}.")) | {f"{at}.{path}" for path in inner}
    if isinstance(schedule, AnyOf) or not fires:
        return fires, kept
    kept |= {step}
    have = {path for path in kept if "." not in path}
    return (True, kept - have) if len(have) == len(schedule.of) else (False, kept)


# --- the option


def schedules_of(value: Any) -> tuple[When, ...]:
    """Read the option `schedule`: one, or several with different names.

    Raises:
        DefinitionError: If it is no schedule, or two have one name.
    """
    if value is None:
        return ()
    several = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for one in several:
        if not isinstance(one, When) or type(one) is When:
            hint = f" Write Cron({one!r})." if isinstance(one, str) else ""
            raise DefinitionError(
                f"schedule must be Cron(...), Every(...), On(...) or a list of these, got {one!r}.{hint}"
            )
    names = [one.name for one in several if one.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(f"Two schedules are called {name!r}: give one of them another name=.")
    return several


def check_parameters(schedules: Sequence[When], names: Collection[str], flow: str) -> None:
    """Refuse parameters of schedules that a flow does not take.

    Raises:
        DefinitionError: Naming the nearest parameter.
    """
    for schedule in schedules:
        for name in schedule.parameters:
            if name not in names:
                raise DefinitionError(
                    f"The schedule {describe(schedule)!r} gives a parameter {name!r}, which {flow} does not take; it "
                    f"takes {', '.join(names) or 'none'}.{nearest(name, names)}"
                )
