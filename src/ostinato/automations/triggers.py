"""What an automation waits for: one event, many, several in an order, or none at all for a time.

```
of one event        RunFailed RunSucceeded RunIs TaskFailed Late Happened
of time             Longer (a run takes too long)   Absent (something does not come)
of many             Count Rate AllOf AnyOf InOrder
```

They are values; `ostinato.engine.judging` says when they are met. What concerns runs takes `flow` (its name or that of
a deployment, with ``*`` for anything) and `tags` (all of them). Runs that other runs have begun are left out unless
`flow` names theirs, so that one failure is told once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ostinato.automations.instants import Instants
from ostinato.errors import DefinitionError, nearest
from ostinato.specs import NESTED, STARRED, WORDS, Name, from_data, refuse, to_data, to_span, to_words
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

KIND_OF_STATE: Final = {
    State.QUEUED: "run.queued",
    State.RUNNING: "run.started",
    State.WAITING: "run.suspended",
    State.RETRYING: "run.retrying",
    **{state: f"run.{state}" for state in State if state.is_terminal},
}
"""The event that tells of each state of a run."""
OPERATORS: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "contains")
_GROUPS: Final = ("flow", "deployment", "run", "task", "key")
_KIND: Final = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)*(\.\*)?")
MOST_REMEMBERED: Final = 1000
"""Of how many events `Count` and `Rate` speak at most."""


class Trigger:
    """Something that is met or not."""

    __slots__ = ()

    def to_data(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return to_data(self)


def _check_runs(trigger: Any) -> None:
    """Check the filters that all triggers about runs have."""
    to_words(trigger, "flow")
    to_words(trigger, "tags")


@dataclass(frozen=True, slots=True)
class RunFailed(Trigger):
    """A run ended as failed or crashed.

    Args:
        flow: Only of this flow or deployment, or of these.
        tags: Only with all of these tags.
        reason: Only for this reason, or one of these: ``timed_out``, ``out_of_memory``, ``lost`` …
    """

    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()
    reason: str | Sequence[str] | None = ()

    def __post_init__(self) -> None:
        """Check the values."""
        _check_runs(self)
        to_words(self, "reason")

    @property
    def states(self) -> tuple[str, ...]:
        """The states it is met by."""
        return ("failed", "crashed")


@dataclass(frozen=True, slots=True)
class RunSucceeded(Trigger):
    """A run ended well.

    Args:
        flow: Only of this flow or deployment, or of these.
        tags: Only with all of these tags.
    """

    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        _check_runs(self)

    @property
    def states(self) -> tuple[str, ...]:
        """The states it is met by."""
        return ("succeeded",)


@dataclass(frozen=True, slots=True, init=False)
class RunIs(Trigger):
    """A run has come into one of these states: ``RunIs("crashed", reason="lost")``.

    Args:
        states: ``succeeded``, ``failed``, ``crashed``, ``cancelled``, ``skipped``; ``queued``, ``running``,
            ``waiting``, ``retrying``.
        reason: Only for this reason, or one of these.
        flow: Only of this flow or deployment, or of these.
        tags: Only with all of these tags.
    """

    states: tuple[str, ...] = field(default=(), metadata=WORDS)
    reason: str | Sequence[str] | None = ()
    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()

    def __init__(
        self,
        *states: str,
        reason: str | Sequence[str] | None = (),
        flow: Name | Sequence[Name] | None = (),
        tags: str | Sequence[str] = (),
    ) -> None:
        for name, value in (("states", states), ("reason", reason), ("flow", flow), ("tags", tags)):
            object.__setattr__(self, name, value)
        to_words(self, "states")
        to_words(self, "reason")
        _check_runs(self)
        known = [str(state) for state in KIND_OF_STATE]
        if not self.states:
            raise DefinitionError(f"RunIs(...) takes one state or more: {', '.join(known)}.")
        for state in self.states:
            if state not in known:
                raise DefinitionError(f"RunIs({state!r}): {state!r} is no state of a run.{nearest(state, known)}")


@dataclass(frozen=True, slots=True)
class TaskFailed(Trigger):
    """A task run failed for good, its retries used up.

    Args:
        task: Only of this task: its name, or its whole key ``file.function``; ``*`` stands for anything.
        reason: Only for this reason, or one of these.
        flow: Only in runs of this flow or deployment, or of these.
        tags: Only in runs with all of these tags.
    """

    task: Name | Sequence[Name] | None = ()
    reason: str | Sequence[str] | None = ()
    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        to_words(self, "task")
        to_words(self, "reason")
        _check_runs(self)


@dataclass(frozen=True, slots=True)
class Late(Trigger):
    """A run has missed its deadline: see `ostinato.deadlines`.

    Args:
        kind: ``start`` or ``end``; None for both.
        flow: Only of this flow or deployment, or of these.
        tags: Only with all of these tags.
    """

    kind: str | None = None
    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if self.kind not in (None, "start", "end"):
            raise refuse(self, "kind", "'start', 'end' or None", self.kind)
        _check_runs(self)


@dataclass(frozen=True, slots=True)
class Longer(Trigger):
    """A run takes longer than it should; told while it still runs.

    Args:
        than: A span of time, or seconds.
        times: Instead: so many times what the deployment's last 100 successful runs took. Nothing is told
            while there are fewer than five of them.
        quantile: What of those is taken: 0.5, the median, to 1, the longest.
        flow: Only of this flow or deployment, or of these.
        tags: Only with all of these tags.
    """

    than: timedelta | float | None = None
    times: float | None = None
    quantile: float = 0.5
    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if (self.than is None) == (self.times is None):
            raise DefinitionError("Longer(...) takes either than=, a span of time, or times=, of the usual duration.")
        to_span(self, "than", null=True)
        if self.times is not None and not (_is_number(self.times) and self.times > 1):
            raise refuse(self, "times", "a number above 1", self.times)
        if not (_is_number(self.quantile) and 0 < self.quantile <= 1):
            raise refuse(self, "quantile", "a number above 0, at most 1", self.quantile)
        _check_runs(self)


@dataclass(frozen=True, slots=True)
class Happened(Trigger):
    """An event was emitted, by a user's code, by a webhook, or by Ostinato itself.

    Args:
        kind: Its kind, ``orders.landed``; ``orders.*`` for all that begin so.
        key: Only with this key.
        where: Only where its data fits: ``{"amount": (">", 100), "customer.country": "NO"}``. A value alone must be
            equal; the others are ``==  !=  <  <=  >  >=  in  contains``.
    """

    kind: str
    key: str | None = None
    where: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.kind, str) or not _KIND.fullmatch(self.kind):
            raise refuse(self, "kind", "an event's kind like 'orders.landed' or 'orders.*'", self.kind)
        if self.key is not None and not isinstance(self.key, str):
            raise refuse(self, "key", "a text", self.key)
        where = {} if self.where is None else self.where
        if not isinstance(where, dict) or not all(isinstance(name, str) and name for name in where):
            raise refuse(self, "where", 'an object like {"amount": (">", 100)}', self.where)
        conditions = {name: list(value) if isinstance(value, tuple) else value for name, value in where.items()}
        for name, value in conditions.items():
            if isinstance(value, list):
                self._check(name, value)
        object.__setattr__(self, "where", conditions)

    def _check(self, name: str, condition: list[Any]) -> None:
        if len(condition) != 2 or condition[0] not in OPERATORS:  # noqa: PLR2004  # operator, value
            given = str(condition[0]) if condition else ""
            raise DefinitionError(
                f"Happened(where=...): {name!r} must be (operator, value) with one of {' '.join(OPERATORS)}, got "
                f"{tuple(condition)!r}.{nearest(given, OPERATORS)}"
            )
        if condition[0] == "in" and not isinstance(condition[1], (list, tuple)):
            raise DefinitionError(f"Happened(where=...): {name!r}: 'in' takes a list, got {condition[1]!r}.")
        if isinstance(condition[1], tuple):
            condition[1] = list(condition[1])


@dataclass(frozen=True, slots=True)
class Count(Trigger):
    """Another trigger was met so many times within a span of time; then it counts anew.

    Args:
        of: The other trigger.
        n: How many times, 2 to 1,000.
        within: The span; None for however long it takes.
        by: What is counted apart: ``flow``, ``deployment``, ``run``, ``task``, ``key``, ``data.NAME``.
    """

    of: Trigger = field(metadata=NESTED)
    n: int = 2
    within: timedelta | float | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check_trigger(self, "of", self.of)
        if not isinstance(self.n, int) or isinstance(self.n, bool) or not 1 < self.n <= MOST_REMEMBERED:
            raise refuse(self, "n", f"a whole number, 2 to {MOST_REMEMBERED}", self.n)
        to_span(self, "within", null=True)
        _check_by(self)


@dataclass(frozen=True, slots=True)
class Rate(Trigger):
    """Too large a share of runs fails: it is met when the share rises above the bound, and again after it fell.

    Args:
        above: The share, 0 to 1: 0.2 is 20 %.
        last: Of so many runs that ended last, up to 1,000.
        within: Instead, or besides: of those that ended within this span.
        least: Nothing is said of fewer runs than this; by default `last`, or 5.
        by: What is counted apart: ``flow``, ``deployment``.
        flow: Only of this flow or deployment, or of these.
        tags: Only with all of these tags.
    """

    above: float
    last: int | None = None
    within: timedelta | float | None = None
    least: int | None = None
    by: str | None = None
    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if not (_is_number(self.above) and 0 <= self.above < 1):
            raise refuse(self, "above", "a share from 0 to below 1", self.above)
        if self.last is None and self.within is None:
            raise DefinitionError("Rate(...) takes last=, a number of runs, or within=, a span of time.")
        for name in ("last", "least"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and 1 <= value <= MOST_REMEMBERED):
                raise refuse(self, name, f"a whole number, 1 to {MOST_REMEMBERED}", value)
        if self.last is not None and self.least is not None and self.least > self.last:
            raise refuse(self, "least", f"at most last, {self.last}", self.least)
        to_span(self, "within", null=True)
        _check_by(self)
        _check_runs(self)


@dataclass(frozen=True, slots=True)
class Absent(Trigger):
    """Something does not come for a span of time.

    Args:
        of: What should come: a trigger, or an event's kind.
        within: The span.
        after: From when it counts. None: from the last time it came, once for each time that it is missing. A trigger:
            from each time that it is met. A schedule, ``Cron("0 6 * * 1-5")``: from each of its instants.
        by: What is watched apart, where `after` is a trigger: ``key``, ``flow``, ``run`` …
    """

    of: Trigger = field(metadata=NESTED)
    within: timedelta | float = 0.0
    after: Any = field(default=None, metadata=NESTED)
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if isinstance(self.of, str):
            object.__setattr__(self, "of", Happened(self.of))
        check_trigger(self, "of", self.of)
        to_span(self, "within")
        if self.after is not None and not isinstance(self.after, (Trigger, Instants)):
            object.__setattr__(self, "after", Instants.of(self.after))
        _check_by(self)
        if self.by is not None and not isinstance(self.after, Trigger):
            raise DefinitionError("Absent(by=...) needs after=, a trigger: else nobody knows what to wait for.")


@dataclass(frozen=True, slots=True, init=False)
class AllOf(Trigger):
    """All of some triggers were met, in any order; then it waits for all of them anew.

    Args:
        of: The triggers.
        within: The first and the last of them at most so far apart.
        by: What is watched apart: ``key``, ``flow``, ``run`` …
    """

    of: tuple[Trigger, ...] = field(default=(), metadata=STARRED)
    within: timedelta | float | None = None
    by: str | None = None

    def __init__(self, *of: Trigger, within: timedelta | float | None = None, by: str | None = None) -> None:
        _compose(self, of, within, by)


@dataclass(frozen=True, slots=True, init=False)
class InOrder(Trigger):
    """Some triggers were met one after the other; then it waits for the first of them anew.

    Args:
        of: The triggers, the first to be met first.
        within: The first and the last of them at most so far apart.
        by: What is watched apart: ``key``, ``flow``, ``run`` …
    """

    of: tuple[Trigger, ...] = field(default=(), metadata=STARRED)
    within: timedelta | float | None = None
    by: str | None = None

    def __init__(self, *of: Trigger, within: timedelta | float | None = None, by: str | None = None) -> None:
        _compose(self, of, within, by)


@dataclass(frozen=True, slots=True, init=False)
class AnyOf(Trigger):
    """One of some triggers was met.

    Args:
        of: The triggers.
    """

    of: tuple[Trigger, ...] = field(default=(), metadata=STARRED)

    def __init__(self, *of: Trigger) -> None:
        object.__setattr__(self, "of", of)
        _check_several(self, of)


def _compose(trigger: Any, of: tuple[Trigger, ...], within: timedelta | float | None, by: str | None) -> None:
    for name, value in (("of", of), ("within", within), ("by", by)):
        object.__setattr__(trigger, name, value)
    _check_several(trigger, of)
    to_span(trigger, "within", null=True)
    _check_by(trigger)


def _check_several(trigger: object, of: tuple[Any, ...]) -> None:
    if len(of) < 2:  # noqa: PLR2004  # of one it is no composition
        raise DefinitionError(f"{type(trigger).__name__}(...) takes two triggers or more, got {len(of)}.")
    for each in of:
        check_trigger(trigger, "of", each)


def check_trigger(owner: object, name: str, value: Any) -> None:
    """Refuse what is no trigger.

    Raises:
        DefinitionError: Saying what was expected; a class that was not called is told from the rest.
    """
    if isinstance(value, Trigger):
        return
    if isinstance(value, type) and issubclass(value, Trigger):
        raise DefinitionError(f"{type(owner).__name__}({name}={value.__name__}): call it: {value.__name__}(...).")
    raise refuse(owner, name, f"a trigger: {', '.join(KINDS)}", value)


def _check_by(trigger: Any) -> None:
    by = trigger.by
    if by is None or by in _GROUPS or (isinstance(by, str) and re.fullmatch(r"data(\.[\w-]+)+", by)):
        return
    hint = nearest(by, _GROUPS) if isinstance(by, str) else ""
    name = type(trigger).__name__
    raise DefinitionError(f"{name}(by=...) must be one of {', '.join(_GROUPS)}, data.NAME, got {by!r}.{hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        *(RunFailed, RunSucceeded, RunIs, TaskFailed, Late, Longer, Happened),
        *(Count, Rate, Absent, AllOf, AnyOf, InOrder),
    )
}
"""All triggers, by name."""


def trigger_of(data: Any) -> Trigger:
    """Make the trigger that some JSON describes.

    Raises:
        DefinitionError: If it describes none.
    """
    made: Any = from_data(data, {**KINDS, "Instants": Instants}, "trigger")
    if not isinstance(made, Trigger):
        raise DefinitionError(f"when must be a trigger, one of {', '.join(KINDS)}.")
    return made
