"""The other side of `ProcessExecutor`: a process that runs one piece of work after the other.

It is started by `ostinato.executors.process`, hears work on a socket, and says there how it ended. What
the work prints goes where the parent's output goes, never into the socket.

```
parent ── HELLO, WORK ──► main thread: load, run, dump ── NOTE*, then ENDED | FAILED | REFUSED ──► parent
       ── lifeline ─────► a thread that waits for the parent's death, then kills the whole process group
```
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from ostinato.errors import ResultError
from ostinato.executors.channel import ENDED, FAILED, NOTE, REFUSED, WORK, Channel, dump, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Ended, Note


class Failure(NamedTuple):
    """How work that raised ended, in parts: the text can be read even if the error cannot."""

    error: bytes | None
    """The pickled exception, without its traceback; None if it cannot be pickled."""
    summary: str
    """``Type: message``."""
    traceback: str
    started_at: int
    finished_at: int
    lost: str | None


class _Line:
    """The line to the parent while work runs."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.process_id = os.getpid()
        self.lock = threading.Lock()
        self.is_working = False

    def send(self, kind: int, data: bytes) -> None:
        with self.lock:
            self.channel.send(kind, data)
            self.is_working = kind == NOTE


_line: _Line | None = None


def in_child() -> bool:
    """Say whether this process is a child that runs work for a `ProcessExecutor`."""
    return _line is not None and _line.process_id == os.getpid()


def send_note(note: Note) -> bool:
    """Tell the parent something while work runs; it arrives before the work's end does.

    Returns:
        Whether it was sent: False in a process that is no such child, and between pieces of work.

    Raises:
        ResultError: It cannot be pickled.
    """
    line = _line
    if line is None or line.process_id != os.getpid() or not line.is_working:
        return False
    try:
        data = dump(note)
    except Exception as error:
        message = f"{note.kind} {note.body!r:.100} cannot leave its process: {error} Use plain data."
        raise ResultError(message) from error
    with line.lock:
        if line.is_working:
            line.channel.send(NOTE, data)
    return line.is_working


def main() -> None:
    """Serve the parent until it hangs up."""
    global _line  # noqa: PLW0603  # one process, one line to its parent
    fd, lifeline = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(fd, False)  # noqa: FBT003  # the name of the call says it
    os.set_inheritable(lifeline, False)  # noqa: FBT003  # the name of the call says it
    threading.Thread(target=_die_with_parent, args=(lifeline,), name="ostinato-lifeline", daemon=True).start()
    channel = Channel(fd)
    _line = _Line(channel)
    try:
        _, hello = channel.receive()
        sys.argv[:] = load(hello)
        _set_up_output()
        while True:
            _serve(_line, *channel.receive())
    except (EOFError, OSError):
        return


def _serve(line: _Line, kind: int, data: bytes | bytearray) -> None:
    if kind != WORK:
        return
    try:
        work: Callable[[], Ended] = load(data)
    except BaseException as error:
        line.send(REFUSED, dump((_summarize(error), "".join(traceback.format_exception(error)))))
        return
    del data
    started_at = time.time_ns() // 1000
    line.is_working = True
    try:
        ended = work()
    except BaseException as error:
        answer = _fail(error, started_at, time.time_ns() // 1000)
    else:
        answer = _answer(ended)
    _flush()
    line.send(*answer)


def _answer(ended: Ended) -> tuple[int, bytes]:
    if ended.error is not None:
        return _fail(ended.error, ended.started_at, ended.finished_at, ended.lost)
    try:
        return ENDED, dump(ended)
    except Exception as error:
        message = (
            f"The result, a {_name(type(ended.value))}, cannot be pickled and so cannot leave its process: {error} "
            "Return plain data or a path to it, or run this task with executor='threads'."
        )
        return _fail(ResultError(message), ended.started_at, ended.finished_at)


def _fail(error: BaseException, started_at: int, finished_at: int, lost: str | None = None) -> tuple[int, bytes]:
    data: bytes | None
    try:
        data = dump(error)
    except Exception:
        data = None
    text = "".join(traceback.format_exception(error))
    return FAILED, dump(Failure(data, _summarize(error), text, started_at, finished_at, lost))


def _summarize(error: BaseException) -> str:
    try:
        return f"{_name(type(error))}: {error}"
    except Exception:
        return _name(type(error))


def _name(kind: type[Any]) -> str:
    return (
        kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"
    )


def _set_up_output() -> None:
    """Let lines appear when they are written, and crashes in native code say where they were."""
    import faulthandler

    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
    if sys.stderr is not None:
        faulthandler.enable()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue


def _die_with_parent(lifeline: int) -> None:
    """Wait until the parent has closed its end, which only its death does early, and take all along."""
    os.read(lifeline, 1)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
