"""How much of each resource the task runs of a run may take at once: what the run has, else what the machine has."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from ostinato.resources import amounts_of

if TYPE_CHECKING:
    from ostinato.records import Run


def room_of(run: Run) -> dict[str, float]:
    """Return what a run has by name; what is not in it is not counted."""
    return {**_machine(), **amounts_of(run.resources)}


@functools.cache
def _machine() -> dict[str, float]:
    found = {"cpu": float(os.cpu_count() or 1)}
    try:
        found["memory"] = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):  # not known on this system
        return found
    return found
