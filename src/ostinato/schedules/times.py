"""Schedules by time: `Cron`, `Every`, `RRule`, `At`. Users import them from `ostinato.schedules`."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  # dataclasses look at annotations
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from ostinato.clock import SECOND, instant_of
from ostinato.errors import DefinitionError
from ostinato.schedules.cron import walls_of
from ostinato.schedules.recurrence import RuleWalls, is_hourly, parse, until_of
from ostinato.schedules.series import Bounded, Listed, Periodic, Series, Union
from ostinato.schedules.walltime import FIRST, Dst, Timeline, moment_of, wall_of
from ostinato.schedules.when import When

_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class Cron(When):
    """Fires when the clock on the wall fits an expression: ``Cron("0 6 * * MON-FRI", timezone="Europe/Oslo")``.

    Args:
        expr: Minute, hour, day of the month, month, day of the week; six fields begin with the second. See
            `ostinato.schedules.cron`.
        dst: What becomes of times that the clocks' change leaves out or shows twice. ``once``: a time in the gap runs
            right after it, one that comes twice runs at its first pass; what runs every hour or oftener follows the
            time that really passes. ``skip``: the same, but a time in the gap does not run. ``each``: it runs whenever
            the wall shows it.

    Raises:
        DefinitionError: If the expression is none, or never fires.
    """

    expr: str
    dst: Dst = field(default="once", kw_only=True)

    def __post_init__(self) -> None:
        """Check the values."""
        walls_of(self.expr)
        super().__post_init__()
        self._one_of("dst", "once", "each", "skip")
        if self.calendar or self.start or self.end or self.dst != "once":
            self._must_fire()

    def _series(self) -> Series:
        walls = walls_of(self.expr)
        return Timeline(walls, self.zone, "each" if walls.fields.is_hourly else self.dst)

    def _said(self) -> str:
        return repr(self.expr)


@dataclass(frozen=True)
class Every(When):
    """Fires in even steps of time that really passes: ``Every(minutes=5)``, ``Every(timedelta(hours=6))``.

    Args:
        interval: How long a step is; or say it by the four below, which add up.
        seconds: Seconds.
        minutes: Minutes.
        hours: Hours.
        days: Days of 24 hours.
        anchor: What steps are counted from, in both directions; by default `start`, else midnight of 1970-01-01 UTC.

    Raises:
        DefinitionError: If a step is shorter than a second.
    """

    interval: timedelta = timedelta(0)
    seconds: InitVar[float] = field(default=0, kw_only=True)
    minutes: InitVar[float] = field(default=0, kw_only=True)
    hours: InitVar[float] = field(default=0, kw_only=True)
    days: InitVar[float] = field(default=0, kw_only=True)
    anchor: datetime | None = field(default=None, kw_only=True)

    def __post_init__(self, seconds: float, minutes: float, hours: float, days: float) -> None:
        """Check the values."""
        try:
            more = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
            self._set("interval", self.interval + more)
        except (TypeError, OverflowError, ValueError) as error:
            raise DefinitionError(f"Every(...) takes numbers, or a timedelta: {error}.") from None
        if self.interval < _SHORTEST:
            raise DefinitionError(
                f"Every(...) must be a second or longer, got {self.interval.total_seconds():g} s. "
                "For example Every(minutes=5)."
            )
        super().__post_init__()
        self._set("anchor", self._moment(self.anchor, "anchor"))
        if self.calendar or self.start or self.end:
            self._must_fire()

    def _series(self) -> Series:
        anchor = self._instant(self.anchor if self.anchor is not None else self.start)
        return Periodic(self.interval // timedelta(microseconds=1), anchor or 0)

    def _said(self) -> str:
        return repr(self.interval)


@dataclass(frozen=True)
class RRule(When):
    """Fires by a recurrence rule of RFC 5545: ``RRule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17", timezone="Europe/Oslo")``.

    `start` is the rule's DTSTART: what it counts from, and where parts that the rule does not name come from. Without
    it, a rule begins on Monday, 2001-01-01, at midnight. Times that the clocks' change leaves out or shows twice are
    treated as everywhere here, not as the RFC has it: see `Cron`.

    Args:
        rule: The rule, with or without ``RRULE:``.
        dst: See `Cron`.

    Raises:
        DefinitionError: If the rule is none, or never fires.
        UsageError: If python-dateutil is not installed.
    """

    rule: str
    dst: Dst = field(default="once", kw_only=True)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._one_of("dst", "once", "each", "skip")
        self._must_fire()

    def _series(self) -> Series:
        parts = parse(self.rule)
        until = parts.pop("UNTIL", None)
        begins, _ = self.bounds
        start = self.start
        if start is not None and start.tzinfo is not None and begins is not None:
            start = moment_of(self.zone.wall_at(begins // SECOND))
        walls = RuleWalls(self.rule, parts, start)
        series: Series = Timeline(walls, self.zone, "each" if is_hourly(parts) else self.dst)
        if until is not None:
            moment, is_utc = until_of(self.rule, until)
            series = Bounded(series, None, self._instant(moment.replace(tzinfo=UTC) if is_utc else moment))
        return series

    def _said(self) -> str:
        return repr(self.rule)


@dataclass(frozen=True)
class At(When):
    """Fires at certain times: ``At([datetime(2026, 12, 24, 16)], timezone="Europe/Oslo")``.

    Args:
        moments: The times; those without a zone are times of `timezone`.
        dst: See `Cron`.

    Raises:
        DefinitionError: If there are none.
    """

    moments: Iterable[datetime]
    dst: Dst = field(default="once", kw_only=True)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._one_of("dst", "once", "each", "skip")
        several = (self.moments,) if isinstance(self.moments, datetime) else tuple(self.moments)
        self._set("moments", tuple(self._moment(moment, "moments") for moment in several))
        if self.series.after(FIRST * SECOND) is None:
            why = "" if self.moments else "; it takes a list of datetimes"
            raise DefinitionError(f"At({list(self.moments)!r}) never fires{why}.")

    def _series(self) -> Series:
        aware = [instant_of(moment) for moment in self.moments if moment.tzinfo is not None]
        local = sorted({wall_of(moment) for moment in self.moments if moment.tzinfo is None})
        # wall times are the same for a list as instants are
        return Union([Listed(aware), Timeline(Listed(local), self.zone, self.dst)])
