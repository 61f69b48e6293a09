"""What flows and tasks log and print: taken to whoever keeps it, and shown as the display wants it.

While anything is captured, `sys.stdout` and `sys.stderr` are replaced by streams that look at the context: what is
written outside a run passes through untouched, and so does what the body of a flow prints. What a task prints is
its log; it passes through only where no display shows it.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ostinato.context import find_frame
from ostinato.executors.stopping import shield

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.context import Frame

    Sink = Callable[[int, str, str], object]

_OWN = "ostinato.internal"
_LONGEST = 1 << 20
"""Characters without a newline that are kept together."""


class Outlet(Protocol):
    """What stands between the streams and the terminal: a display."""

    def echoes(self) -> bool:
        """Whether what tasks print still goes where it went before."""
        ...

    def write(self, under: TextIO, text: str) -> int:
        """Write text to a stream as it is."""
        ...

    def warn(self, message: str) -> None:
        """Show a warning of Ostinato's own."""
        ...


class Bare:
    """No display: what is written is written.

    Args:
        echo: Whether what tasks print still goes where it went before.
    """

    def __init__(self, *, echo: bool = True) -> None:
        self._echo = echo

    def echoes(self) -> bool:
        """Whether what tasks print still goes where it went before."""
        return self._echo

    def write(self, under: TextIO, text: str) -> int:
        """Write text to a stream as it is."""
        return under.write(text)

    def warn(self, message: str) -> None:
        """Drop it."""


class Silent(Bare):
    """Nobody looks on: what a run writes is kept, and goes nowhere else."""

    def __init__(self) -> None:
        super().__init__(echo=False)

    def write(self, under: TextIO, text: str) -> int:
        """Write what no run has written."""
        return under.write(text) if find_frame() is None else len(text)


class _Stream(io.TextIOBase):
    """A text stream that hands whole lines to the run that writes them."""

    def __init__(self, under: TextIO, name: str, level: int, sink: Sink | None, display: Outlet) -> None:
        self._under, self._name, self._level, self._sink, self._display = under, name, level, sink, display
        self._unfinished: dict[str, str] = {}

    def write(self, text: str) -> int:
        """Write text: kept line by line where a run writes it, and passed on unless something else shows it."""
        frame = find_frame()
        with shield():
            if self._sink is None and (frame is None or frame.task is None):
                self._display.write(self._under, text)
                if frame is None:
                    return len(text)
            elif self._display.echoes():
                self._display.write(self._under, text)
            self._take(text, self._unfinished if frame is None else frame.unfinished)
        return len(text)

    def _take(self, text: str, unfinished: dict[str, str]) -> None:
        *lines, rest = (unfinished.pop(self._name, "") + text).split("\n")
        for line in lines:
            self._keep(_last_written(line))
        if "\r" in rest:
            rest = _last_written(rest) + ("\r" if rest.endswith("\r") else "")
        if len(rest) > _LONGEST:
            self._keep(rest)
        elif rest:
            unfinished[self._name] = rest

    def _keep(self, line: str) -> None:
        frame = find_frame()
        if self._sink is not None:
            self._sink(self._level, self._name, line)
        elif frame is not None and frame.runtime is not None:
            frame.runtime.log(self._level, self._name, line)

    def end(self, frame: Frame) -> None:
        """Keep what a body that ends has left without a newline."""
        with shield():
            rest = _last_written(frame.unfinished.pop(self._name, ""))
            if rest:
                self._keep(rest)

    def flush(self) -> None:
        """Flush what is under it, unless that is closed: this may be dropped, and so closed, long after."""
        if not getattr(self._under, "closed", False):
            self._under.flush()

    def isatty(self) -> bool:
        """As what is under it."""
        return self._under.isatty()

    def fileno(self) -> int:
        """As what is under it."""
        return self._under.fileno()

    def writable(self) -> bool:
        """Text can be written."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As what is under it."""
        return self._under.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """As what is under it."""
        return self._under.errors

    def __getattr__(self, name: str) -> Any:
        """Everything else is what is under it."""
        return getattr(self._under, name)


def _last_written(line: str) -> str:
    """Return what is to be seen of a line that was written over by carriage returns, as progress bars do."""
    return line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line


def end_lines(frame: Frame) -> None:
    """Keep what the body of a frame, which must be the current one, has printed without a newline."""
    if frame.unfinished:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Stream):
                stream.end(frame)


class _Handler(logging.Handler):
    def __init__(self, sink: Sink | None, display: Outlet) -> None:
        super().__init__(logging.NOTSET)
        self._sink, self._display = sink, display

    def emit(self, record: logging.LogRecord) -> None:
        frame = find_frame()
        if record.name.startswith(_OWN):
            if record.levelno >= logging.WARNING:
                self._display.warn(_message_of(record))
        elif self._sink is not None:
            self._sink(record.levelno, record.name, _message_of(record))
        elif frame is not None and frame.runtime is not None:
            with shield():
                frame.runtime.log(record.levelno, record.name, _message_of(record))
        elif record.levelno >= logging.WARNING and logging.lastResort and logging.getLogger().handlers == [self]:
            logging.lastResort.handle(record)  # as if we were not here


def _message_of(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
    except Exception:  # a bad format string must not end the task
        message = f"{record.msg!r} (could not be formatted with {record.args!r})"
    return message


_lock = threading.Lock()
_captures: list[Callable[[], None]] = []
"""What undoes the capture that is on, once for each that asked for it."""


@contextmanager
def captured(sink: Sink | None = None, *, level: int = logging.INFO, display: Outlet | None = None) -> Iterator[None]:
    """Capture logging and print while the context lasts. Runs side by side in one process share one capture.

    Args:
        sink: Takes every line (in another process); None to hand each to the runtime of the frame that wrote it.
        level: The lowest level that the root logger lets through.
        display: What is written goes through it.
    """
    with _lock:
        _captures.append(_captures[0] if _captures else _capture(sink, level, display or Bare()))
    try:
        yield
    finally:
        with _lock:
            undo = _captures.pop()
            if not _captures:
                undo()


def _capture(sink: Sink | None, level: int, display: Outlet) -> Callable[[], None]:
    out, err = sys.stdout, sys.stderr
    streams = [
        None if under is None else _Stream(under, name, severity, sink, display)
        for under, name, severity in ((out, "stdout", logging.INFO), (err, "stderr", logging.WARNING))
    ]
    sys.stdout, sys.stderr = streams
    root, handler = logging.getLogger(), _Handler(sink, display)
    loud = [] if display.echoes() else _quiet(root, {id(out): streams[0], id(err): streams[1]})
    root.addHandler(handler)
    before = root.level
    if before == logging.WARNING or before > level:  # the default of a process that did not configure logging
        root.setLevel(level)

    def undo() -> None:
        root.removeHandler(handler)
        root.setLevel(before)
        for restore in loud:
            restore()
        if sys.stdout is streams[0]:
            sys.stdout = out
        if sys.stderr is streams[1]:
            sys.stderr = err

    return undo


def _quiet(root: logging.Logger, streams: dict[int, _Stream | None]) -> list[Callable[[], None]]:
    """Keep the user's own handlers from writing to the terminal what the display shows already."""
    undo: list[Callable[[], None]] = []
    for handler in root.handlers:
        stream = getattr(handler, "stream", None)
        replacement = streams.get(id(stream)) if isinstance(handler, logging.StreamHandler) else None
        if replacement is None and not hasattr(handler, "console"):
            continue
        handler.addFilter(_is_outside)
        undo.append(lambda handler=handler: handler.removeFilter(_is_outside))  # type: ignore[misc]
        if replacement is not None and isinstance(handler, logging.StreamHandler):
            handler.setStream(replacement)
            undo.append(lambda handler=handler, stream=stream: handler.setStream(stream))  # type: ignore[misc]
    return undo


def _is_outside(_: logging.LogRecord) -> bool:
    return find_frame() is None
