"""What a simulation begins with: values, wherever they are from."""

from __future__ import annotations

from collections.abc import Mapping  # msgspec looks at annotations
from typing import Any

import msgspec

from ostinato.errors import UsageError
from ostinato.simulate.past import ASSUMED, Past
from ostinato.timing import LimitRow, Schedule
from ostinato.work import Deployed, Pool, Queue


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The time that is played: from an instant, itself included, up to another, itself not."""

    begin: int
    end: int

    def __post_init__(self) -> None:
        """Check that it is one.

        Raises:
            UsageError: If it ends before it begins.
        """
        if self.end <= self.begin:
            raise UsageError("The time that is simulated must end after it begins: --to is not after --from.")


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """Workers of one sort."""

    workers: int = 1
    slots: int = 1
    """Runs that each of them carries out at once."""
    pools: tuple[str, ...] = ()
    """The work pools that they serve; none for all."""
    resources: Mapping[str, float] | None = None
    """What each of them has to give; None for whatever is asked for."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: If there are none.
        """
        if self.workers < 1 or self.slots < 1:
            raise UsageError(f"--workers and --slots are 1 or more, not {self.workers} and {self.slots}.")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a sensor asked for in the past."""

    at: int
    schedule: str
    key: str
    deployment: str
    parameters: dict[str, Any] = {}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the past."""

    at: int
    kind: str
    key: str | None = None
    data: str = "{}"


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known when it begins."""

    deployed: list[Deployed] = []
    schedules: list[Schedule] = []
    pools: list[Pool] = []
    queues: list[Queue] = []
    limits: list[LimitRow] = []
    pasts: dict[str, Past] = {}
    """By deployment; of one that is not in it nothing is known."""
    requests: list[Request] = []
    """What sensors will ask for, in order."""
    events: list[Told] = []
    """What users will emit, in order."""
    notes: list[str] = []
    """What was assumed, and what is left out, as sentences."""

    def past(self, deployment: str) -> Past:
        """Return what is known of a deployment's runs."""
        return self.pasts.get(deployment, ASSUMED)
