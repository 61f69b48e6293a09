"""What a worker has, what of it is taken by the runs under way, and so what it can offer."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import psutil

from ostinato.resources import amounts_of
from ostinato.work import Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostinato.records import Run


class Capacity:
    """The slots and the resources of a worker. Threads wait here for a slot to be free."""

    def __init__(self, slots: int, totals: Mapping[str, float]) -> None:
        self.slots, self.totals = slots, dict(totals)
        self._taken: dict[str, dict[str, float]] = {}
        self._changed = threading.Condition()

    def take(self, run: Run) -> None:
        """Note a run that was claimed."""
        with self._changed:
            self._taken[run.id] = amounts_of(run.resources)

    def free(self, run_id: str) -> None:
        """Note that a run is through."""
        with self._changed:
            self._taken.pop(run_id, None)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until a condition holds; it is looked at when something is freed, or somebody calls `wake`."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def count(self) -> int:
        """How many runs are under way."""
        return len(self._taken)

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return len(self._taken) < self.slots

    @property
    def holds_resources(self) -> bool:
        """Whether some run under way takes more than its slot."""
        with self._changed:
            return any(self._taken.values())

    def offer(self, pools: list[str]) -> Offer:
        """Say what is free."""
        with self._changed:
            free = dict(self.totals)
            for taken in self._taken.values():
                for name, amount in taken.items():
                    free[name] = free.get(name, 0.0) - amount
            return Offer(pools=pools, slots=max(0, self.slots - len(self._taken)), resources=free)


def find_totals(named: Mapping[str, float]) -> dict[str, float]:
    """Find out what this machine has; what is named counts instead."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {"cpu": float(cpus), "memory": float(psutil.virtual_memory().total), "gpu": float(_count_gpus())}
    return {name: amount for name, amount in {**found, **named}.items() if amount}


def _count_gpus() -> int:
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    try:
        told = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in told.stdout.splitlines())
