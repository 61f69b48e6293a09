"""One piece of work in a thread: its Handle, and what happens when it is stopped and will not end."""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

from ostinato.context import Ended
from ostinato.executors.stopping import Stage, Stoppable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.executors.threads import ThreadExecutor

logger = logging.getLogger("ostinato.executors")

# Module globals: a look-up on an Enum class costs more than the rest of a transition.
_NEW, _ENDED, _DROPPED, _RUNNING = Stage.NEW, Stage.ENDED, Stage.DROPPED, Stage.RUNNING


class ThreadWork(Stoppable):
    """One piece of submitted work and the Handle of it."""

    __slots__ = ("_context", "_done", "_pool", "_work")

    def __init__(self, pool: ThreadExecutor, work: Callable[[], Ended], done: Callable[[Ended], None]) -> None:
        super().__init__()
        self._pool = pool
        self._work = work
        self._done: Callable[[Ended], object] = done
        self._context = copy_context()  # constant time, 0.05 µs

    def perform(self) -> None:
        """Run the work here and tell how it ended, unless it was dropped or abandoned meanwhile."""
        if self.stage is not _NEW:
            return
        try:
            ended = self._context.run(self.run, self._work)
        except BaseException as error:
            ended = self._ended(error)
        if self.stage is _ENDED:
            self._tell(ended)

    def stop(self, signal: BaseException) -> None:
        """Drop the work, or raise `signal` in it and abandon it if that does not help within the grace."""
        stage = super().stop(signal)
        if stage is _DROPPED:
            self._tell(self._ended(signal))
        elif stage is _RUNNING:
            self._after(0.5, self._try_again)

    def drop(self, signal: BaseException) -> None:
        """Stop the work if it has not begun, else let it run."""
        with self._lock:
            if self.stage is not _NEW:
                return
            self.signal, self.stage = signal, _DROPPED
        self._tell(self._ended(signal))

    def _try_again(self) -> None:
        """Raise the signal once more: the work may have swallowed it, as a bare `except` does."""
        self.again()
        self._after(0.25, self._try_last)

    def _try_last(self) -> None:
        self.again()
        self._after(0.25, self._give_up)

    def _after(self, share: float, call: Callable[[], None]) -> None:
        if self.stage is _RUNNING:
            self._pool.watcher.after(self._pool.grace * share, call)

    def _give_up(self) -> None:
        if not self.abandon() or self.signal is None:
            return
        logger.warning(
            "%s did not end within %g s after it was stopped (%s) and was abandoned: its thread goes on until "
            "it returns by itself. Only executor='processes' can stop any work for certain.",
            describe(self._work),
            self._pool.grace,
            type(self.signal).__name__,
        )
        self._pool.replace(self)
        self._tell(self._ended(self.signal))

    def _ended(self, error: BaseException) -> Ended:
        now = self._pool.clock.now()
        return Ended(error=error, started_at=now, finished_at=now)

    def _tell(self, ended: Ended) -> None:
        done = self._done
        self._done = self._work = _nothing  # handles that are kept keep nothing alive
        try:
            done(ended)
        except Exception:
            logger.exception("`done` failed; this is a defect in Ostinato.")


def describe(work: Callable[[], Ended]) -> str:
    """Name a piece of work for a message."""
    inner = getattr(work, "func", work)  # functools.partial
    return getattr(inner, "__qualname__", None) or repr(inner)


def _nothing(*_: object) -> Ended:
    return Ended(started_at=0, finished_at=0)
