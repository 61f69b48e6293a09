"""Ctrl-C: once cancels the run in order, twice stops at once.

A signal handler runs between any two instructions of the main thread, locks held or not. So ours only hands the
request to the keeper's thread; that one stops the run and wakes the main thread with a second signal, whose handler
raises what the body is being stopped with, where it may be raised.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ostinato.outcomes import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.runtime.session import Session


@contextmanager
def interruptible(session: Session) -> Iterator[None]:
    """Handle Ctrl-C for the runs of a session while the context lasts; does nothing off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Interrupts(session)
    before = signal.signal(signal.SIGINT, handler)
    session.wake_main = handler.wake
    try:
        yield
    finally:
        session.wake_main = lambda: None
        signal.signal(signal.SIGINT, before)


class _Interrupts:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked = False
        self._waking = False

    def wake(self) -> None:
        """Interrupt the main thread's wait, from another thread."""
        if threading.current_thread() is threading.main_thread() or not hasattr(signal, "pthread_kill"):
            return
        self._waking = True
        ident = threading.main_thread().ident
        if ident is not None:
            signal.pthread_kill(ident, signal.SIGINT)

    def __call__(self, *_: Any) -> None:
        """Handle the signal, in the main thread."""
        if self._waking:
            self._waking = False
            for runner in list(self._session.runners.values()):
                runner.body.hear()
            return
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._session.ask(self._cancel)

    def _cancel(self) -> None:
        self._session.announce("Cancelling: tasks are being stopped. Press Ctrl-C again to stop at once.")
        self._session.interrupted.set()
        for runner in list(self._session.runners.values()):
            if runner.run.parent_run_id is None:
                runner.stop(Interrupted("Ctrl-C"))
