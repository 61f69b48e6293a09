"""Schedules by events: `On`. Users import it from `ostinato.schedules`."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  # dataclasses look at annotations
from dataclasses import dataclass, field
from datetime import timedelta  # noqa: TC003  # likewise
from typing import Any, ClassVar, Literal, Protocol, get_args

from ostinato.errors import DefinitionError, nearest
from ostinato.schedules.when import Kind, When, seconds_of

Policy = Literal["each", "batch", "latest", "window"]
EndState = Literal["succeeded", "failed", "cancelled", "crashed", "skipped"]


class Named(Protocol):
    """A flow, as far as it matters here."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def fn(self) -> Any:
        """Its function."""
        ...


@dataclass(frozen=True)
class On(When):
    """Fires when something happens: an event that somebody emits, or the end of a flow's runs.

    ``On("orders.landed")``, ``On(load)`` or ``On("flow:load")`` for its successes, ``On(load, states=["failed"])``.

    Args:
        what: The kind of an event, a flow, or ``flow:name``.
        key: Only events with this key.
        policy: How events become runs: one for ``each``; one for a ``batch`` of `size` events, or of fewer after
            `window`; one for the ``latest`` when several are waiting; one for all of a ``window`` of time.
        size: How many events make a batch.
        window: Seconds (or a `timedelta`).
        states: Which ends of a flow's runs count; by default ``succeeded``.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    what: str | Named
    key: str | None = field(default=None, kw_only=True)
    policy: Policy = field(default="each", kw_only=True)
    size: int | None = field(default=None, kw_only=True)
    window: float | timedelta | None = field(default=None, kw_only=True)
    states: Iterable[EndState] = field(default=(), kw_only=True)

    kind: ClassVar[Kind] = "event"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        self._set("what", _what(self.what))
        self._one_of("policy", "each", "batch", "latest", "window")
        self._check_sizes()
        states = (self.states,) if isinstance(self.states, str) else tuple(self.states)
        known = get_args(EndState)
        for state in states:
            if state not in known:
                hint = nearest(str(state), known)
                raise DefinitionError(f"On(states=...) takes {', '.join(known)}; got {state!r}.{hint}")
        if states and self.flow is None:
            raise DefinitionError(f"On({self.what!r}, states=...): only the runs of a flow have states.")
        if self.key is not None and self.flow is not None:
            raise DefinitionError(f"On({self.what!r}, key=...): only events that users emit have a key.")
        self._set("states", states or (("succeeded",) if self.flow is not None else ()))
        if self.calendar is not None and self.calendar.roll != "skip":
            raise DefinitionError('On(calendar=...) can only leave days out: give the calendar roll="skip".')

    @property
    def flow(self) -> str | None:
        """The name of the flow whose runs' ends count; None for a user's event."""
        what = str(self.what)
        return what.removeprefix("flow:") if what.startswith("flow:") else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events that count: ``run.succeeded`` …, or the user's own."""
        return (str(self.what),) if self.flow is None else tuple(f"run.{state}" for state in self.states)

    def matches(self, kind: str, *, key: str | None, flow: str | None) -> bool:
        """Tell whether an event counts.

        Args:
            kind: Its kind.
            key: Its key, None for an event of ours.
            flow: The flow of the run that it is about, if it is about one.
        """
        if kind not in self.kinds:
            return False
        return flow == self.flow if self.flow is not None else self.key is None or key == self.key

    def _check_sizes(self) -> None:
        if self.window is not None:
            self._set("window", seconds_of(self.window, "On(window=...)"))
        if self.window == 0:
            raise DefinitionError("On(window=...) must be longer than nothing.")
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise DefinitionError(f"On(size=...) must be a number of events, 1 or more, got {self.size!r}.")
        if self.policy == "batch" and self.size is None:
            raise DefinitionError('On(policy="batch") needs size=: how many events make a batch.')
        if self.policy == "window" and self.window is None:
            raise DefinitionError('On(policy="window") needs window=: its length in seconds.')
        if self.size is not None and self.policy != "batch":
            raise DefinitionError(f'On(size=...) is for policy="batch"; the policy is "{self.policy}".')
        if self.window is not None and self.policy not in {"batch", "window"}:
            raise DefinitionError(f'On(window=...) is for policy="batch" and "window"; the policy is "{self.policy}".')


def _what(what: Any) -> str:
    """Read what is waited for."""
    if isinstance(what, str):
        text = what.strip()
        if text.startswith("run."):
            state = text.removeprefix("run.")
            raise DefinitionError(f'On({text!r}): say of which flow, as in On("flow:load", states=["{state}"]).')
        if text and text != "flow:":
            return text
    elif hasattr(what, "start") and isinstance(getattr(what, "name", None), str):
        return f"flow:{what.name}"
    raise DefinitionError(f'On(...) takes the kind of an event such as "orders.landed", or a flow, got {what!r}.')
