"""A run that a worker has claimed, carried out in this process: what a host process calls for each.

The session is a guest of the worker's lease. `ClaimedRun` is made as soon as the claim is known, before the flow is
loaded, so that an order to stop that comes meanwhile, on another thread, is not lost.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ostinato.errors import RunStateError, StoreError
from ostinato.outcomes import Cancelled, LeaseLost
from ostinato.runtime.capture import Silent, captured
from ostinato.runtime.passes import Passes
from ostinato.runtime.signals import interruptible
from ostinato.runtime.start import take_up

if TYPE_CHECKING:
    from ostinato.authoring.flow import Flow
    from ostinato.records import Run
    from ostinato.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended that a process carried out a run."""

    how: Literal["ended", "suspended", "lost"]
    """``ended``: the run has, and that is stored. ``suspended``: it waits without a process, and that is stored.
    ``lost``: this process no longer holds it, or cannot reach the store."""
    error: BaseException | None = None
    """What ended the body; None for a success."""


class ClaimedRun:
    """A claimed run.

    Args:
        session: A guest of the worker that claimed it.
        run: As it was claimed.
    """

    def __init__(self, session: Session, run: Run) -> None:
        self.session, self.run = session, run
        self._lock = threading.Lock()
        self._is_over = False

    def cancel(self, why: str = "somebody asked to cancel the run") -> None:
        """Say that somebody has asked to cancel the run; from any thread."""
        self._stop(Cancelled(why))

    def lose(self, why: str) -> None:
        """Say that the worker no longer holds the run: what it does does not count any more; from any thread."""
        self._stop(LeaseLost(why))

    def _stop(self, signal: BaseException) -> None:
        with self._lock:
            if not self._is_over:
                self.session.stop(self.run.id, signal)

    def carry_out(self, flow: Flow[Any, Any]) -> Ending:
        """Run it to its end with its flow, its output kept but shown nowhere.

        Raises:
            UsageError: If it cannot begin: its parameters are refused by the flow, or cannot be read.
            ResultError: Likewise.
        """
        passes, session = Passes(self.session), self.session
        session.worker_id = self.run.worker_id or session.worker_id
        level = logging.getLevelName(session.settings.log_level.upper())
        error: BaseException | None = None
        try:
            with captured(level=level, display=Silent()), self._interruptible():
                made = take_up(session, passes, self.run, flow)
                if inspect.iscoroutine(made):
                    asyncio.run(made)
        except BaseException as raised:  # how the run ended is what is returned
            error = raised
        with self._lock:
            self._is_over = True
            session.forget(self.run.id)
        if passes.went is None and error is not None and not isinstance(error, (StoreError, RunStateError)):
            raise error  # it never began
        return Ending(passes.went or "lost", error)

    def _interruptible(self) -> AbstractContextManager[object]:
        is_main = threading.current_thread() is threading.main_thread()
        return interruptible(self.session) if is_main else nullcontext()
