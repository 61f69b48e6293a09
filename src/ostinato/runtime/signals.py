"""Ctrl-C: once cancels the run in order, twice stops at once.

A signal handler runs between any two instructions of the main thread, locks held or not; and one that is sent in the
moment before the main thread begins to wait in C is only handled when that wait is over, however long it is. So
Ctrl-C is heard elsewhere: CPython writes each signal's number to a socket in the very moment it comes (the *wakeup
fd*), and a thread of ours reads it. It has the keeper stop the run, and wakes the main thread with a signal of another
number, again and again until that has heard: its handler raises what the body is being stopped with, where it may be
raised.
"""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ostinato.outcomes import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.runtime.session import Session

_WAKE = getattr(signal, "SIGURG", None)
"""Ignored by whoever does not know it; None on Windows, where no thread can be sent a signal."""
_AGAIN = 0.05


@contextmanager
def interruptible(session: Session) -> Iterator[None]:
    """Handle Ctrl-C for the runs of a session while the context lasts; does nothing off the main thread.

    Runs side by side on one asyncio loop share one handling, and end in any order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _shared:
        _shared.append(_Interrupts())
    interrupts = _shared[0]
    interrupts.sessions.append(session)
    session.wake_main = interrupts.wake
    try:
        yield
    finally:
        session.wake_main = lambda: None
        interrupts.sessions.remove(session)
        if not interrupts.sessions:
            _shared.clear()
            interrupts.close()


_shared: list[_Interrupts] = []


class _Interrupts:
    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self._is_over = threading.Event()
        self._must_end = False
        self._read, self._written = socket.socketpair()
        self._written.setblocking(False)  # noqa: FBT003  # positional only
        numbers = [signal.SIGINT] if _WAKE is None else [signal.SIGINT, _WAKE]
        self._before = [(number, signal.signal(number, self.hear)) for number in numbers]
        self._before_fd = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="ostinato-signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no longer."""
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before:
            signal.signal(number, handler)
        self._is_over.set()
        self._written.close()
        self._thread.join(timeout=5)
        self._read.close()

    def wake(self) -> None:
        """Interrupt the main thread's wait, from another thread."""
        ident = threading.main_thread().ident
        if _WAKE is not None and ident is not None and threading.current_thread() is not threading.main_thread():
            signal.pthread_kill(ident, _WAKE)

    def hear(self, *_: Any) -> None:
        """Handle a signal, in the main thread."""
        if self._must_end:
            self._must_end = False
            raise KeyboardInterrupt
        for session in list(self.sessions):
            for runner in list(session.runners.values()):
                runner.body.hear()

    def _watch(self) -> None:
        """Count how often Ctrl-C was pressed, until the other end is closed."""
        pressed = 0
        while numbers := self._read.recv(64):
            for _ in range(numbers.count(signal.SIGINT)):
                pressed += 1
                if pressed == 1:
                    for session in list(self.sessions):
                        session.ask(lambda session=session: _cancel(session))  # type: ignore[misc]
                else:
                    self._end_now()

    def _end_now(self) -> None:
        self._must_end = True
        while self._must_end and not self._is_over.wait(_AGAIN):
            self.wake()


def _cancel(session: Session) -> None:
    session.announce("Cancelling: tasks are being stopped. Press Ctrl-C again to stop at once.")
    session.interrupted.set()
    for runner in list(session.runners.values()):
        if runner.run.parent_run_id is None:
            runner.stop(Interrupted("Ctrl-C"))
