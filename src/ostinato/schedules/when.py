"""What all schedules have in common, and what `&` and `|` make of them.

They are values, checked when they are made, also whether they ever fire. What they compute with, `When.series`, is made
when it is first needed, and is no part of the value. Those by time are in `times`, those by events in `events`; users
import them from `ostinato.schedules`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping  # noqa: TC003  # dataclasses look at annotations
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, Self

from ostinato.clock import SECOND, instant_of
from ostinato.errors import DefinitionError, nearest
from ostinato.schedules.calendars import Calendar, on_days
from ostinato.schedules.series import Bounded, Listed, Series, Union
from ostinato.schedules.walltime import Zone, wall_of, zone

Catchup = Literal["last", "all", "none"]
Kind = Literal["time", "event", "condition"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")
_REFERENCE: Final = 1_577_836_800 * SECOND
"""2020-01-01: from here on a schedule without a start must fire at some time."""
_OF_RUNS: Final = ("jitter", "catchup", "paused", "parameters", "name", "tags")
"""Options that are about the runs of a schedule, not about when: those of a combination belong to the whole."""


class _Keep:
    """Stands for "as it was"."""

    def __repr__(self) -> str:
        """Show up readably in signatures."""
        return "<as it was>"


_KEEP: Final = _Keep()


@dataclass(frozen=True, kw_only=True)
class When:
    """What all schedules have in common.

    Args:
        timezone: Where the clock hangs that times without a zone and days are read from: ``Europe/Oslo``.
        jitter: Up to how many seconds (or a `timedelta`) later a run begins, by chance, always the same for one time.
        start: From when on it fires, itself included; without a zone it is a time of `timezone`.
        end: Until when it fires, itself included.
        calendar: On which days; see `Calendar`.
        catchup: What becomes of times that nobody was there for: only the ``last`` of them makes a run, ``all`` do, or
            ``none``.
        paused: Whether it begins paused; later, pausing and resuming by hand has the last word.
        parameters: Parameters of its runs, beyond those of the flow or the deployment.
        name: What tells it from others of the same flow.
        tags: Labels of its runs, besides the flow's.

    Raises:
        DefinitionError: If a value makes no sense, or it would never fire.
    """

    timezone: str = "UTC"
    jitter: float | timedelta = 0.0
    start: datetime | None = None
    end: datetime | None = None
    calendar: Calendar | None = None
    catchup: Catchup = "last"
    paused: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    name: str | None = None
    tags: Iterable[str] = ()

    kind: ClassVar[Kind] = "time"

    def __post_init__(self) -> None:
        """Check the values."""
        zone(self.timezone)
        self._set("jitter", seconds_of(self.jitter, f"{self._label}(jitter=...)"))
        self._set("start", self._moment(self.start, "start"))
        self._set("end", self._moment(self.end, "end"))
        self._one_of("catchup", "last", "all", "none")
        if self.calendar is not None and not isinstance(self.calendar, Calendar):
            raise DefinitionError(f"{self._label}(calendar=...) must be a Calendar, got {self.calendar!r}.")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) and tag for tag in self.tags):
            raise DefinitionError(f"{self._label}(tags=...) must be a list of texts, got {self.tags!r}.")
        self._set("tags", tuple(self.tags))
        self._set("parameters", dict(self.parameters))
        if self.name is not None and (not isinstance(self.name, str) or not _NAME.fullmatch(self.name)):
            message = f"{self._label}(name=...) must be letters, digits, '.', '_' and '-', a letter first, got "
            raise DefinitionError(f"{message}{self.name!r}.")
        begins, ends = self.bounds
        if begins is not None and ends is not None and ends < begins:
            raise DefinitionError(f"{self._label}: its end, {self.end}, is before its start, {self.start}.")

    @property
    def zone(self) -> Zone:
        """Its time zone."""
        return zone(self.timezone)

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """The instants of `start` and `end`."""
        return self._instant(self.start), self._instant(self.end)

    @functools.cached_property
    def series(self) -> Series:
        """Its instants; for a condition, when a time part of it happens. No part of the value."""
        series = self._series()
        if self.calendar is not None:
            series = on_days(series, self.calendar, self.zone)
        begins, ends = self.bounds
        return series if begins is None and ends is None else Bounded(series, begins, ends)

    def with_options(
        self,
        *,
        timezone: str | _Keep = _KEEP,
        jitter: float | timedelta | _Keep = _KEEP,
        start: datetime | _Keep | None = _KEEP,
        end: datetime | _Keep | None = _KEEP,
        calendar: Calendar | _Keep | None = _KEEP,
        catchup: Catchup | _Keep = _KEEP,
        paused: bool | _Keep = _KEEP,
        parameters: Mapping[str, Any] | _Keep = _KEEP,
        name: str | _Keep | None = _KEEP,
        tags: Iterable[str] | _Keep = _KEEP,
    ) -> Self:
        """Make one with other options: this is how a combination gets its own. See the class for what they are."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not _KEEP}
        return replace(self, **given)

    def __or__(self, other: When) -> AnyOf:
        """Make what fires whenever one of both does."""
        return AnyOf(_parts_of(AnyOf, self, other))

    def __and__(self, other: When) -> AllOf:
        """Make what fires once both have happened since it fired last."""
        return AllOf(_parts_of(AllOf, self, other))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what it computes with."""
        return {name: value for name, value in vars(self).items() if name != "series"}

    def _series(self) -> Series:
        return Listed(())

    @property
    def _label(self) -> str:
        return type(self).__name__

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _one_of(self, option: str, *choices: str) -> None:
        value = getattr(self, option)
        if value not in choices:
            expected = ", ".join(f'"{choice}"' for choice in choices)
            hint = nearest(str(value), choices)
            raise DefinitionError(f"{self._label}({option}=...) must be one of {expected}, got {value!r}.{hint}")

    def _moment(self, value: Any, option: str) -> datetime | None:
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise DefinitionError(f"{self._label}({option}=...) must be a datetime, got {value!r}.")
        return value if value.tzinfo is None else value.astimezone(UTC)

    def _instant(self, value: datetime | None) -> int | None:
        """Turn a moment into an instant; one without a zone is a time of this schedule's."""
        if value is None:
            return None
        if value.tzinfo is not None:
            return instant_of(value)
        return self.zone.first_pass(wall_of(value))[0] * SECOND + value.microsecond

    def _must_fire(self) -> None:
        """Refuse what never fires, as far as that can be known without looking at the clock."""
        begins, ends = self.bounds
        if begins is None and ends is not None:
            fires = self.series.before(ends + 1) is not None
        else:
            fires = self.series.after(_REFERENCE if begins is None else begins - 1) is not None
        if not fires:
            limits = [name for name in ("start", "end", "calendar") if getattr(self, name) is not None]
            limits += ["dst"] if getattr(self, "dst", "once") != "once" else []
            why = f" with this {' and '.join(limits)}" if limits else ""
            raise DefinitionError(f"{self._label}({self._said()}) never fires{why}.")

    def _said(self) -> str:
        return ""


@dataclass(frozen=True)
class AnyOf(When):
    """Fires whenever one of its parts does: ``Cron(...) | On(...)``."""

    of: tuple[When, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        _check_parts(self, self.of)
        self._set("kind", "time" if all(part.kind == "time" for part in self.of) else "condition")
        if self.kind == "time" and (self.calendar or self.start or self.end):
            self._must_fire()

    def _series(self) -> Series:
        return Union([part.series for part in self.of])


@dataclass(frozen=True)
class AllOf(When):
    """Fires once each of its parts has happened since it fired last: ``On("a") & On("b")``."""

    of: tuple[When, ...]

    kind: ClassVar[Kind] = "condition"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        _check_parts(self, self.of)

    def _series(self) -> Series:
        return Union([part.series for part in self.of])


def _parts_of(kind: type[AnyOf | AllOf], one: When, other: When) -> tuple[When, ...]:
    """List the parts of a combination; ``a | b | c`` has three, not one and two."""
    if not isinstance(other, When):
        raise DefinitionError(f"& and | combine schedules such as Cron(...) and On(...), got {other!r}.")
    if isinstance(one, kind) and one == kind(one.of):
        return (*one.of, other)
    return one, other


def _check_parts(whole: When, parts: tuple[When, ...]) -> None:
    if len(parts) < 2:  # noqa: PLR2004  # a combination of one is none
        raise DefinitionError(f"{type(whole).__name__}(...) combines two schedules or more, got {len(parts)}.")
    plain = When()
    for part in parts:
        given = [name for name in _OF_RUNS if getattr(part, name) != getattr(plain, name)]
        if given:
            raise DefinitionError(
                f"{given[0]}= is about runs, which the combination makes and not its parts: leave it out of "
                f"{type(part).__name__}(...), and write (a | b).with_options({given[0]}=...)."
            )
    if whole.calendar is not None and whole.calendar.roll != "skip" and any(part.kind != "time" for part in parts):
        raise DefinitionError('A calendar can only leave days out where events are in it: give it roll="skip".')


def seconds_of(value: Any, what: str) -> float:
    """Read a span of time.

    Raises:
        DefinitionError: If it is none, or less than nothing.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise DefinitionError(f"{what} must be seconds, 0 or more, or a timedelta, got {value!r}.")
    return float(seconds)
