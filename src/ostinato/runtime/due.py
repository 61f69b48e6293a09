"""Which instants of a schedule are due, and which were missed: a pure function of the schedule, how far it is, and now.

```
since ──●────●────●────●────●──────────●───────│───────●──► instants
        └ replayed: all of them ┘ └ missed ┘ └ on time ┘ now    next
                                   by `catchup`  60 s at most
```

An instant counts once its jitter is over. It is missed when that is more than a minute ago: nobody was there to see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.schedules import delay_of, next_after, previous_before

if TYPE_CHECKING:
    from ostinato.schedules import When

GRACE: Final = 60 * SECOND
"""An instant that is seen so late is still on time."""
BATCH: Final = 500
"""So many runs of one schedule are made in one look at most; the rest in the next."""
COUNTED: Final = 1000
"""Missed instants are counted up to so many; what matters is which is the last."""


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Instants that start nothing."""

    count: int
    first: int
    last: int
    more: bool = False
    """There were more than were counted."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do."""

    instants: list[int] = []
    """To be started, the oldest first."""
    missed: Missed | None = None
    since: int
    next_at: int | None
    """When something will be due: at once where a batch was not enough."""


def find_due(when: When, name: str, since: int, now: int, *, until: int = 0, counted: int = COUNTED) -> Due:
    """Find what is due.

    Args:
        when: The schedule.
        name: Its name, for the jitter.
        since: Up to where everything has been decided.
        now: The time.
        until: What is replayed: up to this instant none counts as missed.
        counted: Up to how many missed instants are counted.
    """
    walk = _Walk(when, name, since)
    found: list[int] = []
    missed: Missed | None = None
    while walk.instant is not None and walk.at <= now and len(found) < BATCH:
        if when.catchup == "all" or walk.instant <= until or walk.at >= now - GRACE:
            found.append(walk.instant)
            walk.step()
        else:
            missed = walk.pass_over(now - GRACE, counted)
    if missed is not None and when.catchup == "last" and (not found or found[-1] < missed.last):
        found.append(missed.last)  # nothing since was on time: the newest stands for all
        missed = _without_last(when, missed)
    return Due(instants=found, missed=missed, since=walk.since, next_at=None if walk.instant is None else walk.at)


class _Walk:
    """Goes from one instant to the next; they come in order whatever their jitter."""

    def __init__(self, when: When, name: str, since: int) -> None:
        self._when, self._name = when, name
        self.since = since
        self.at = 0
        """When the instant is due."""
        self.instant = self._following()

    def step(self) -> None:
        assert self.instant is not None
        self.since = self.instant
        self.instant = self._following()

    def pass_over(self, late: int, counted: int) -> Missed:
        """Go on to the first instant that is not due before `late`."""
        assert self.instant is not None
        first, count = self.instant, 0
        while self.instant is not None and self.at < late and count < counted:
            self.step()
            count += 1
        if self.instant is None or self.at >= late:
            return Missed(count=count, first=first, last=self.since)
        jitter = round(float(self._when.jitter) * SECOND)  # type: ignore[arg-type]  # it is a number once checked
        self.since = max(previous_before(self._when, late - jitter) or 0, self.since)
        self.instant = self._following()
        return Missed(count=count, first=first, last=self.since, more=True)

    def _following(self) -> int | None:
        instant = next_after(self._when, self.since)
        if instant is not None:
            self.at = max(self.at, instant + delay_of(self._when, self._name, instant))
        return instant


def _without_last(when: When, missed: Missed) -> Missed | None:
    if missed.count == 1 and not missed.more:
        return None
    before = previous_before(when, missed.last)
    count = missed.count if missed.more else missed.count - 1
    return msgspec.structs.replace(missed, count=count, last=missed.first if before is None else before)
