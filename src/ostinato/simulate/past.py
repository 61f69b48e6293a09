"""What the past says about a deployment's runs: how long they took and how they ended, drawn by lot for new ones."""

from __future__ import annotations

import random
from collections.abc import Sequence  # msgspec looks at annotations
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostinato.records import Run

DEFAULT_SECONDS: Final = 60.0
"""What a run takes of which nothing is known."""


class Draw(msgspec.Struct, frozen=True):
    """How one run went, or will."""

    seconds: float
    """From its first start to its end: attempts, delays and waits in between are part of it."""
    state: State = State.SUCCEEDED
    attempts: int = 1


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What new runs of a deployment are drawn from, each as likely as the other."""

    draws: Sequence[Draw]
    source: str
    """Where that is from: ``37 past runs``, ``given``, ``assumed``."""


ASSUMED: Final = Past(draws=(Draw(DEFAULT_SECONDS),), source="assumed")
"""Of a deployment that has never run."""


def past_of(runs: Iterable[Run]) -> Past:
    """Read what some runs of a deployment were like; those that have not ended, or never began, tell nothing."""
    draws = [
        Draw(max(0.0, (run.finished_at - run.started_at) / SECOND), run.state, run.attempt)
        for run in runs
        if run.started_at is not None and run.finished_at is not None and run.state.is_terminal
    ]
    if not draws:
        return ASSUMED
    return Past(draws=draws, source=f"{len(draws)} past run{'s' if len(draws) > 1 else ''}")


def given(seconds: float) -> Past:
    """Say that all runs of a deployment take so long, and succeed."""
    return Past(draws=(Draw(seconds),), source="given")


class Lots:
    """Draws, with a generator of its own for each deployment: one more run of one changes nothing for the others.

    Args:
        seed: The same seed draws the same.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generators: dict[str, random.Random] = {}

    def draw(self, name: str, past: Past) -> Draw:
        """Draw how a run of a deployment goes."""
        if len(past.draws) == 1:
            return past.draws[0]
        found = self._generators.get(name)
        if found is None:
            found = self._generators[name] = random.Random(f"{self._seed}/{name}")  # no secret
        return past.draws[int(found.random() * len(past.draws))]
