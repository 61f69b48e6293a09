"""How calls end, as values: what a task may return instead of a result, and what a failure was.

`Skip`, `Snooze` and `Cancel` are returned by user code. `Failure` is a recorded exception, as text
that anything may show. `Stop` and its kind are the private signals that end a body: they derive from
`BaseException`, so that a user's ``except Exception`` cannot swallow them.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from ostinato.errors import DefinitionError

_PACKAGE = str(Path(__file__).parent)
_MAX_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Skip:
    """Returned by a task or a flow that has nothing to do; what depends on it is skipped too."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Snooze:
    """Returned by a task that wants to be run again later; it does not count as a failure.

    Args:
        delay: Seconds, or a `timedelta`.
        why: Shown while it waits.
    """

    delay: float | timedelta
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse a negative delay."""
        if self.seconds < 0:
            message = f"Snooze(delay) must not be negative, got {self.delay!r}."
            raise DefinitionError(message)

    @property
    def seconds(self) -> float:
        """The delay in seconds."""
        return self.delay.total_seconds() if isinstance(self.delay, timedelta) else float(self.delay)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Returned by a task that gives up without failing: no retry, what depends on it is skipped."""

    why: str = ""


OUTCOMES = (Skip, Snooze, Cancel)


class Stop(BaseException):
    """A body must end now. Private: raised into user code, never handed to it."""

    reason = "stopped"


class Cancelled(Stop):
    """Somebody asked to cancel the run."""

    reason = "cancelled"


class Interrupted(Cancelled):
    """Somebody pressed Ctrl-C."""


class Withdrawn(Cancelled):
    """Whoever awaited it was cancelled: by a `gather`, a timeout or a group of the user's own."""


class TimedOut(Stop):
    """The task ran longer than its timeout."""

    reason = "timed_out"


class LeaseLost(Stop):
    """This process no longer holds the run: nothing it does counts any more."""

    reason = "lost"


class Suspended(Stop):
    """The run gives up its process: it waits for nothing but other runs or later times, and comes back then."""

    reason = "suspended"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """One line of a traceback."""

    file: str
    line: int
    function: str
    code: str
    user: bool
    """Whether it is the user's own code: neither Ostinato's, nor an installed package's."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded exception."""

    type: str
    module: str
    message: str
    traceback: str
    """As Python prints it, without Ostinato's own frames."""
    places: list[Place] = []
    """The frames, outermost first."""

    @property
    def line(self) -> str:
        """The exception in one line."""
        first = self.message.strip().splitlines()[0] if self.message.strip() else ""
        return f"{self.type}: {first}" if first else self.type

    def to_json(self) -> str:
        """Encode it for a row's `error`."""
        return msgspec.json.encode(self).decode()


def failure_of(error: BaseException) -> Failure:
    """Describe an exception: its type, its message and where it was raised, user frames told apart."""
    try:
        message = str(error)
    except Exception as broken:  # a __str__ that fails must not hide the failure
        message = f"<its __str__ raised {type(broken).__name__}>"
    return Failure(
        type=type(error).__name__,
        module=type(error).__module__,
        message=message[:_MAX_TEXT],
        traceback=_format(error)[-_MAX_TEXT:],
        places=_places(error),
    )


def parse_failure(error: str | None) -> Failure | None:
    """Decode a row's `error`."""
    return None if error is None else msgspec.json.decode(error, type=Failure)


def _own(file: str) -> bool:
    return file.startswith(_PACKAGE)


def _places(error: BaseException) -> list[Place]:
    return [
        Place(
            frame.filename,
            frame.lineno or 0,
            frame.name,
            frame.line or "",
            not any(part in frame.filename for part in ("site-packages", "dist-packages", "/lib/python", "<frozen")),
        )
        for frame in traceback.extract_tb(error.__traceback__)
        if not _own(frame.filename)
    ]


def _format(error: BaseException) -> str:
    try:
        report = traceback.TracebackException.from_exception(error)
        _drop_own(report, set())
        return "".join(report.format())
    except Exception as broken:  # exceptions with odd attributes exist; the type is better than nothing
        return f"{type(error).__name__} (its traceback cannot be shown: {type(broken).__name__})"


def _drop_own(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    report.stack = traceback.StackSummary.from_list([f for f in report.stack if not _own(f.filename)])
    linked: list[Any] = [report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or [])]
    for other in linked:
        if other is not None:
            _drop_own(other, seen)
