"""The rules of one task run, as values, and the decisions they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.errors import DefinitionError, nearest
from ostinato.limits import Passing
from ostinato.retry import Retry
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.future import Settled


Gate = tuple[str, float, float]
"""A resource that a task run takes: its name, how much there is of it, how much of that is taken."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a task's options say about one of its runs."""

    retry: Retry | None = None
    limits: tuple[Passing, ...] = ()
    """The limits it passes, over all processes, in the order they are taken."""
    gates: tuple[Gate, ...] = ()
    """What it takes of what this process has, in the order it is taken."""
    pool: str | None = None
    """The work pool that it is sent to; None to execute it here."""
    when: str = "all_succeeded"
    cache_key: str | None = None
    cache_refresh: bool = False
    """Compute anyway, and cache the new result."""
    cache_expires: int | None = None
    """Microseconds after which what it caches is forgotten; None for never."""


class Reading(msgspec.Struct, frozen=True):
    """How what a call depends on ended, counted."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return self.succeeded + self.failed + self.skipped + self.cancelled


_TRIGGERS: Final[dict[str, Callable[[Reading], bool]]] = {
    "all_succeeded": lambda r: r.succeeded == r.total,
    "all_failed": lambda r: r.failed == r.total,
    "all_done": lambda r: True,  # noqa: ARG005  # every trigger takes the reading
    "all_skipped": lambda r: r.skipped == r.total,
    "any_succeeded": lambda r: r.succeeded > 0,
    "one_failed": lambda r: r.failed > 0,
    "none_failed": lambda r: r.failed == 0,
    "none_failed_any_succeeded": lambda r: r.failed == 0 and r.succeeded > 0,
    "none_skipped": lambda r: r.skipped == 0,
}

WHEN: Final = tuple(_TRIGGERS)
"""The trigger rules, judged once everything upstream has ended."""


def check_when(when: str) -> str:
    """Refuse an unknown trigger rule.

    Raises:
        DefinitionError: Naming the nearest one.
    """
    if when not in _TRIGGERS:
        message = f"when={when!r} is no trigger rule; expected one of {', '.join(WHEN)}.{nearest(when, WHEN)}"
        raise DefinitionError(message)
    return when


def read(upstream: Sequence[Settled]) -> Reading:
    """Count how what a call depends on ended. What was skipped because of a failure counts as failed."""
    counts = {"succeeded": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    for settled in upstream:
        counts[_group(settled)] += 1
    return Reading(**counts)


def _group(settled: Settled) -> str:
    if settled.state is State.SUCCEEDED:
        return "succeeded"
    if settled.state is State.CANCELLED or settled.reason == "upstream_cancelled":
        return "cancelled"
    if settled.state is State.SKIPPED and settled.reason != "upstream_failed":
        return "skipped"
    return "failed"


def reason_not_to_run(when: str, upstream: Sequence[Settled]) -> str | None:
    """Judge a trigger rule: None to run, else the reason why not."""
    if not upstream:
        return None
    if when == "all_succeeded" and all(settled.state is State.SUCCEEDED for settled in upstream):
        return None
    reading = read(upstream)
    if _TRIGGERS[when](reading):
        return None
    if when in {"one_failed", "all_failed", "all_skipped"}:
        return "rule_unmet"
    if reading.failed:
        return "upstream_failed"
    return "upstream_cancelled" if reading.cancelled else "upstream_skipped"
