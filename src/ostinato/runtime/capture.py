"""What flows and tasks log and print: taken to whoever keeps it, and still written where it went before.

While anything is captured, `sys.stdout` and `sys.stderr` are replaced by streams that look at the context: what is
written outside a run passes through untouched.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ostinato.context import find_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Sink = Callable[[int, str, str], object]

_OWN = "ostinato.internal"


class _Stream(io.TextIOBase):
    """A text stream that hands whole lines to the run that writes them."""

    def __init__(self, under: TextIO, name: str, level: int, sink: Sink | None, *, echo: Callable[[], bool]) -> None:
        self._under, self._name, self._level, self._sink, self._echo = under, name, level, sink, echo
        self._parts = threading.local()

    def write(self, text: str) -> int:
        """Write text: kept line by line where a run writes it, and passed on unless something else shows it."""
        frame = find_frame()
        if frame is None and self._sink is None:
            return self._under.write(text)
        if self._echo():
            self._under.write(text)
        *lines, rest = (getattr(self._parts, "rest", "") + text).split("\n")
        self._parts.rest = rest
        for line in lines:
            self._keep(line)
        return len(text)

    def _keep(self, line: str) -> None:
        frame = find_frame()
        if self._sink is not None:
            self._sink(self._level, self._name, line)
        elif frame is not None and frame.runtime is not None:
            frame.runtime.log(self._level, self._name, line)

    def flush(self) -> None:
        """Flush what is under it."""
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

    def __getattr__(self, name: str) -> Any:
        """Everything else is what is under it."""
        return getattr(self._under, name)


class _Handler(logging.Handler):
    def __init__(self, sink: Sink | None) -> None:
        super().__init__(logging.NOTSET)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        frame = find_frame()
        if record.name.startswith(_OWN) or (self._sink is None and (frame is None or frame.runtime is None)):
            return
        try:
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
        except Exception:  # a bad format string must not end the task
            message = f"{record.msg!r} (could not be formatted with {record.args!r})"
        if self._sink is not None:
            self._sink(record.levelno, record.name, message)
        elif frame is not None and frame.runtime is not None:
            frame.runtime.log(record.levelno, record.name, message)


@contextmanager
def captured(
    sink: Sink | None = None, *, level: int = logging.INFO, echo: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Capture logging and print while the context lasts.

    Args:
        sink: Takes every line (in another process); None to hand each to the runtime of the frame that wrote it.
        level: The lowest level that the root logger lets through.
        echo: Whether what is printed still goes where it went before, at that moment.
    """
    out, err = sys.stdout, sys.stderr
    root, handler = logging.getLogger(), _Handler(sink)
    before = root.level
    sys.stdout = _Stream(out, "stdout", logging.INFO, sink, echo=echo)  # type: ignore[assignment]
    sys.stderr = _Stream(err, "stderr", logging.WARNING, sink, echo=echo)  # type: ignore[assignment]
    root.addHandler(handler)
    if before == logging.WARNING or before > level:  # the default of a process that did not configure logging
        root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        sys.stdout, sys.stderr = out, err
