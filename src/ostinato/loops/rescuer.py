"""Finds workers that are gone, and sees to it that their runs go on.

```
lease ended (the survey sees it) ──┐
process gone (this machine)      ──┴─► sweep ─► its runs are queued again
                                          └──► a script's run, of no pool ─► a worker that has its project
```
"""

from __future__ import annotations

import json
import time
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.errors import RunStateError, UnknownRunError
from ostinato.loops.loop import Loop
from ostinato.records import RunFilter
from ostinato.runtime.process import is_gone, this_host
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.loops.loop import Host
    from ostinato.records import Run, Worker
    from ostinato.store.store import Store
    from ostinato.work import Survey

_EVERY: Final = 0.5
_LOOK_EVERY: Final = 60.0
_STRAY_FOR: Final = 15 * 60 * SECOND
"""A script's run that was lost longer ago than this is left to whoever asks for it."""
_STRAYS: Final = 50


class Rescuer:
    """Watches the processes of this machine without asking the store, and all others by their leases."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._here: list[Worker] = []
        self._look_at = 0.0
        self._is_asked = True
        self.loop = Loop("rescuer", self.rescue, every=_EVERY)

    def heard(self, survey: Survey) -> None:
        """Look for the dead that a survey saw."""
        if survey.dead:
            self.look()

    def look(self) -> None:
        """Have it ask the store soon: workers have come, or some are dead."""
        self._is_asked = True
        self.loop.wake()

    async def rescue(self) -> None:
        """Sweep if a worker is gone, or if it is time to see who there is."""
        gone = [worker.id for worker in self._here if is_gone(worker)]
        if not gone and not self._is_asked and time.monotonic() < self._look_at:
            return
        self._is_asked = False
        if await self._host.call(lambda: self._rescue(gone)):
            self._host.changed()
        self._look_at = time.monotonic() + _LOOK_EVERY

    def _rescue(self, gone: Sequence[str]) -> bool:
        store, here = self._host.store, this_host()
        workers = store.list_workers()
        dead = {*gone, *(worker.id for worker in workers if is_gone(worker))}
        lost = store.sweep(sorted(dead))
        left = [worker for worker in workers if worker.id not in dead]
        self._here = [worker for worker in left if worker.host == here]
        return bool(adopt(store, left)) or bool(lost)


def adopt(store: Store, workers: Sequence[Worker]) -> list[Run]:
    """Queue runs of scripts that died for workers that have their project on the same machine."""
    now = store.now()
    able = [
        worker
        for worker in workers
        if worker.roots and worker.pools and not worker.draining and worker.expires_at > now
    ]
    if not able:
        return []
    crashed = store.list_runs(RunFilter(states=[State.CRASHED], top_level=True, limit=_STRAYS))
    adopted = []
    for run in crashed:
        if run.reason != "lost" or run.pool is not None or (run.finished_at or now) < now - _STRAY_FOR:
            continue
        worker = _worker_for(store, run, able)
        if worker is None:
            continue
        try:
            adopted.append(store.requeue(run.id, worker.pools[0]))
        except (RunStateError, UnknownRunError):  # somebody was quicker
            continue
    return adopted


def _worker_for(store: Store, run: Run, able: Sequence[Worker]) -> Worker | None:
    place = _place(run)
    if place is None:
        return None
    fitting = [worker for worker in able if any(place.is_relative_to(root) for root in worker.roots)]
    host = _host_of(store, run) if fitting else ""
    return next((worker for worker in fitting if worker.host == host), None)


def _place(run: Run) -> PurePath | None:
    """Return where a run's flow is defined: a file, or for a module the folder it was started in."""
    if run.target is None:
        return None
    source = run.target.rpartition(":")[0]
    if source.endswith(".py"):
        return Path(run.cwd or "/", source)
    return None if run.cwd is None else PurePath(run.cwd)


def _host_of(store: Store, run: Run) -> str:
    """Return the machine on which it was lost, as the event of its loss says."""
    lost = [found.event for found in store.list_events(run.id) if found.event.kind == "run.crashed"]
    return str(json.loads(lost[-1].data).get("host", "")) if lost else ""
