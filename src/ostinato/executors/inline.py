"""Run work right where it is submitted: for debuggers, tests, and flows where order must be plain.

`submit` returns when the work has ended and `done` was called. Another thread may still stop it, by
`close`; a handle comes too late for that.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ostinato.clock import Clock, SystemClock
from ostinato.context import Ended
from ostinato.errors import UsageError
from ostinato.executors.stopping import ClosedSignal, Stoppable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Note

_NOTHING = nullcontext()


class InlineExecutor:
    """No pool at all: work runs in the thread that submits it."""

    name = "inline"
    slots = 1
    isolated = False

    def __init__(self, slots: int | None = None, *, clock: Clock | None = None) -> None:  # noqa: ARG002  # the Protocol has it
        """Make it.

        Args:
            slots: Not used; there is one per caller.
            clock: Tells when work ended that could not say so itself.
        """
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._running: set[_Inline] = set()
        self._closed = False

    def submit(
        self,
        work: Callable[[], Ended],
        done: Callable[[Ended], None],
        note: Callable[[Note], None] | None = None,  # noqa: ARG002  # the Protocol has it
    ) -> _Inline:
        """Run `work` here and now, and call `done`. `note` is not used.

        Raises:
            UsageError: The executor is closed.
        """
        handle = _Inline()
        with self._lock:
            if self._closed:
                message = "This executor is closed and takes no more work. Make a new one."
                raise UsageError(message)
            self._running.add(handle)
        started_at = self._clock.now()
        try:
            ended = handle.run(work)
        except BaseException as error:
            ended = Ended(error=error, started_at=started_at, finished_at=self._clock.now())
        finally:
            with self._lock:
                self._running.discard(handle)
        done(ended)
        return handle

    def blocked(self) -> AbstractContextManager[object]:
        """Do nothing: waiting here takes no slot from anyone."""
        return _NOTHING

    def close(self) -> None:
        """Stop what other threads run here. Idempotent."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for handle in running:
            handle.stop(ClosedSignal(f"the executor {self.name!r} was closed"))


class _Inline(Stoppable):
    """The Handle of work that runs inline."""

    __slots__ = ()

    def stop(self, signal: BaseException) -> None:
        """Raise `signal` in the work if it still runs."""
        super().stop(signal)
