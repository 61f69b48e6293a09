"""A run on its way through a run process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostinato.launchers.line import Order
    from ostinato.launchers.run_process import Place
    from ostinato.work import ProcessEnd


@dataclass(eq=False)
class Job:
    """What a launcher is asked to carry out, and what it knows of it."""

    order: Order
    place: Place
    cold: bool = False
    """In a process that runs nothing else, before or after."""
    limit: int | None = None
    """The bytes of memory that it may take."""
    peak: int = 0
    """The most that it was seen to take."""
    ooms: int = 0
    kill_at: float | None = None
    """When its process is killed, since it was asked to stop."""
    verdict: ProcessEnd | None = None
    """Why we have killed its process."""

    @property
    def run_id(self) -> str:
        """Which run it is."""
        return self.order.run.id
