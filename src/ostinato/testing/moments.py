"""Instants and spans as tests write them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from ostinato.clock import SECOND, instant_of
from ostinato.errors import UsageError


def to_instant(moment: datetime | date | str) -> int:
    """Read an instant: a `datetime`, a `date`, or ISO 8601; in UTC where no zone is given.

    Raises:
        UsageError: If it is none.
    """
    if isinstance(moment, str):
        try:
            return instant_of(datetime.fromisoformat(moment))
        except ValueError:
            raise UsageError(f"{moment!r} is no time; write 2026-01-31 or 2026-01-31T06:00+01:00.") from None
    if isinstance(moment, datetime):
        return instant_of(moment)
    if isinstance(moment, date):
        return instant_of(datetime(moment.year, moment.month, moment.day))  # noqa: DTZ001  # UTC where none is given
    raise UsageError(f"A time is a datetime, a date or a text in ISO 8601, not {moment!r}.")


def to_span(span: timedelta | float) -> int:
    """Read a span: a `timedelta`, or a number of seconds.

    Raises:
        UsageError: If it is none, or goes back in time.
    """
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise UsageError(f"A span of time is a timedelta or a number of seconds, 0 or more, not {span!r}.")
    return round(seconds * SECOND)
