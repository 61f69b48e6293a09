"""Time as a parameter.

Instants are integers: microseconds since 1970-01-01 UTC, in Python, in SQL and on the wire. Only the
clock handed in at the edge knows the real time, so tests move it by hand.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> int:
        """Return the instant now, in microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return the instant now, in microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000


class ManualClock:
    """A clock that stands still until it is moved: for tests and simulation."""

    def __init__(self, start: int = 1_700_000_000 * SECOND) -> None:
        self._now = start

    def now(self) -> int:
        """Return the instant it was moved to."""
        return self._now

    def move(self, by: float) -> None:
        """Move the clock.

        Args:
            by: Seconds, negative to go back.
        """
        self._now += round(by * SECOND)


def to_datetime(instant: int) -> datetime:
    """Turn an instant into an aware `datetime` in UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant)


def instant_of(moment: datetime) -> int:
    """Turn a `datetime` into an instant; one without a time zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def to_rfc3339(instant: int | None) -> str | None:
    """Write an instant as RFC 3339 in UTC with microseconds, ``None`` as ``None``."""
    return None if instant is None else to_datetime(instant).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
