"""What a run has printed just before it calls `os._exit`, which ends a process without another word.

A line rides on the next commit, a fifth of a second later at most, so the last ones would be lost. A run process
therefore has an `os._exit` of its own that writes them first. On a thread of its own and with little patience: whoever
ends a process so may hold any lock, or the store may be away.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from ostinato.context import find_frame
from ostinato.records import Commit
from ostinato.runtime.capture import end_lines

if TYPE_CHECKING:
    from ostinato.runtime.session import Session

_PATIENCE: Final = 2.0


def write_before_exit(session: Session) -> None:
    """Let `os._exit` write what the runs of a session have logged: in this process, not in copies of it."""
    leave, pid = os._exit, os.getpid()

    def write_and_leave(status: int) -> NoReturn:
        try:
            if os.getpid() == pid:
                context = contextvars.copy_context()
                writer = threading.Thread(target=context.run, args=(_write, session), daemon=True)
                writer.start()
                writer.join(_PATIENCE)
        finally:
            leave(status)

    os._exit = write_and_leave


def _write(session: Session) -> None:
    frame = find_frame()
    if frame is not None:
        end_lines(frame)
    for runner in list(session.runners.values()):
        with contextlib.suppress(Exception):  # it cannot be helped
            runner.journal.save(Commit())
