"""Gives back, for a worker, the runs whose processes have ended without ending them: again and again until it is done.

A run that is not given back stays ``running`` for as long as its worker lives, and nobody carries it out. So whatever
the store answers, it is asked again, less and less often, while the worker holds the lease; after that it is swept.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostinato.errors import StaleEpochError, StoreError, UnknownRunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.launchers.job import Job
    from ostinato.store.store import Store
    from ostinato.work import ProcessEnd

_log = logging.getLogger("ostinato.worker")
_FIRST, _LONGEST = 0.25, 5.0
"""Seconds from one try to the next."""


@dataclass(eq=False, slots=True)
class _Return:
    job: Job
    ending: ProcessEnd
    due: float = 0.0
    pause: float = _FIRST


class Returning:
    """The runs that are to be given back, and the thread that does it.

    Args:
        store: What they are given back to.
        holds: Tells whether a worker's lease, named by its id, is still ours.
    """

    def __init__(self, store: Store, holds: Callable[[str], bool]) -> None:
        self._store, self._holds = store, holds
        self._changed = threading.Condition()
        self._left: list[_Return] = []
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def give_back(self, job: Job, ending: ProcessEnd) -> None:
        """Have a run given back; from any thread, and at once."""
        with self._changed:
            self._left.append(_Return(job, ending))
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="ostinato-returning", daemon=True)
                self._thread.start()

    def close(self, patience: float) -> None:
        """Wait so many seconds for what is left, then give up on it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._left, patience)
            self._is_closed = True
            self._changed.notify_all()

    def _serve(self) -> None:
        while (item := self._next()) is not None:
            is_over = self._try(item)
            with self._changed:
                if is_over:
                    self._left.remove(item)
                    self._changed.notify_all()
                else:
                    item.due = time.monotonic() + item.pause
                    item.pause = min(2 * item.pause, _LONGEST)

    def _next(self) -> _Return | None:
        """Wait for the next that is due; None once it is closed."""
        with self._changed:
            while not self._is_closed:
                item = min(self._left, key=lambda left: left.due, default=None)
                wait = None if item is None else item.due - time.monotonic()
                if item is not None and wait is not None and wait <= 0:
                    return item
                self._changed.wait(wait)
        return None

    def _try(self, item: _Return) -> bool:
        """Give one back; tell whether there is nothing more to do about it."""
        run, worker_id = item.job.order.run, item.job.order.worker_id
        if not self._holds(worker_id):
            return True
        try:
            self._store.give_back(worker_id, run.id, run.epoch, item.ending)
        except (StaleEpochError, UnknownRunError) as error:
            _log.warning("Run %s need not be given back: %s", run.id, error)
        except StoreError as error:
            _log.warning("Run %s could not be given back yet: %s", run.id, error)
            return False
        except Exception:  # whatever it is, the run must not be lost with it
            _log.exception("Run %s could not be given back yet.", run.id)
            return False
        return True
