"""What a run shows to the person who started it, on standard error: live on a terminal, plain lines otherwise.

```
events ──► Tally (counters, news) ◄── sampled ten times a second ── Plain ─► lines
                                                                  └ Live ──► lines above, a frame below (Screen)
```

One display serves all runs of a process: a second one that is opened meanwhile is the first.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ostinato import telemetry
from ostinato.runtime.display.live import Live
from ostinato.runtime.display.plain import Plain
from ostinato.runtime.display.tally import MARK, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ostinato.settings import Settings


class Display:
    """What is shown, and what is not: the streams of a process while a run is shown.

    Args:
        show: Shows it; None for nothing at all.
    """

    def __init__(self, show: Plain | None) -> None:
        self._show = show
        self._here = os.getpid()

    def echoes(self) -> bool:
        """Whether what tasks print still goes where it went before, for nothing else shows it."""
        return self._show is None or os.getpid() != self._here

    def write(self, under: TextIO, text: str) -> int:
        """Write what a person is to see as it is, without disturbing what is shown."""
        if self._show is None or os.getpid() != self._here:  # a forked child has no display
            return under.write(text)
        return self._show.write(under, text)

    def tick(self) -> None:
        """Show what is new now."""
        if self._show is not None:
            self._show.tick()

    def warn(self, message: str) -> None:
        """Show a warning of Ostinato's own."""
        if self._show is not None:
            self._show.tally.warn(message)


_lock = threading.Lock()
_open: list[tuple[Display, Callable[[], None]]] = []
"""The display that is open, once for each that opened it, with what closes it."""


@contextmanager
def open_display(settings: Settings) -> Iterator[Display]:
    """Show what runs in this process while the context lasts."""
    with _lock:
        _open.append(_open[0] if _open else _begin(settings, sys.stderr))
        display, close = _open[0]
    try:
        yield display
    finally:
        with _lock:
            _open.pop()
            if not _open:
                close()
        display.tick()


def _begin(settings: Settings, stream: TextIO | None) -> tuple[Display, Callable[[], None]]:
    kind = _kind(settings.display, stream)
    if kind is None or stream is None:
        return Display(None), lambda: None
    show = kind(Tally(), stream)
    unsubscribe = telemetry.subscribe(show.tally.hear)
    show.start()

    def close() -> None:
        unsubscribe()
        show.close()
        _spare_tracebacks()

    return Display(show), close


def _kind(wanted: str, stream: TextIO | None) -> type[Plain] | None:
    if wanted == "none" or stream is None:
        return None
    if wanted != "auto":
        return Live if wanted == "live" else Plain
    try:
        is_terminal = stream.isatty()
    except (AttributeError, ValueError):
        is_terminal = False
    return Live if is_terminal and os.environ.get("TERM", "dumb") != "dumb" else Plain


def _spare_tracebacks() -> None:
    """Let a script that ends by an exception that was shown end without Python's own traceback of it.

    Left alone where somebody else handles uncaught exceptions, and at a prompt.
    """
    if sys.excepthook is sys.__excepthook__ and not hasattr(sys, "ps1") and not sys.flags.interactive:
        sys.excepthook = _show_unseen


def _show_unseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    is_interrupt = isinstance(error, KeyboardInterrupt) and hasattr(error.__context__, MARK)
    if not is_interrupt and not hasattr(error, MARK):
        sys.__excepthook__(kind, error, trace)
