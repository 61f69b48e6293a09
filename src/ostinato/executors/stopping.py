"""Stop Python code that runs in a thread, and nothing else.

CPython can raise an exception in another thread (`PyThreadState_SetAsyncExc`), but only "soon": a stop
that comes as the work ends would strike whatever that thread does next. A `Stoppable` is one piece of
work; it takes back what came too late, so its signal never lands outside its work.

```
            stop: dropped                    watcher: abandoned (stuck in C code)
     NEW ────────────────► DROPPED   RUNNING ──────────────────► ABANDONED
      └──── run ─────────────────────► RUNNING ── work ends ───► ENDED
```

Our own code that user's work calls (a commit, a lock) must not be torn apart either: it stands in
`with shield():` and the signal waits at its end. Code that waits for another thread's news, deaf to
signals while it waits in C, stands in `with waking(event.set):`.
"""

from __future__ import annotations

import ctypes
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_MISSING: Any = object()


class Stage(Enum):
    """How far a piece of work has come."""

    NEW = "new"
    RUNNING = "running"
    ENDED = "ended"
    DROPPED = "dropped"
    ABANDONED = "abandoned"


# Module globals: a look-up on an Enum class costs more than the rest of a transition.
_NEW, _RUNNING, _ENDED, _DROPPED, _ABANDONED = Stage


class ClosedSignal(BaseException):
    """The executor was closed while this work waited or ran."""


class _Thread(threading.local):
    innermost: Stoppable | None = None


_here = _Thread()


class Stoppable:
    """One piece of work, which may be stopped once, from any thread, before or while it runs."""

    __slots__ = ("_ident", "_lock", "_outer", "_shields", "_unheard", "_wake", "signal", "stage")

    def __init__(self) -> None:
        self.stage = _NEW
        self.signal: BaseException | None = None
        """What it was stopped with, if it was."""
        self._lock = threading.Lock()
        self._ident = 0
        self._outer: Stoppable | None = None
        self._shields = 0
        self._unheard = False
        """Whether the signal has not been raised in the work yet."""
        self._wake: Callable[[], object] | None = None

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` in this thread, open to `stop` until it ends.

        Returns:
            What `work` returns. A signal that comes after it has returned is taken back.

        Raises:
            BaseException: What `work` raises; the signal, if it was stopped in time.
        """
        result: T = _MISSING
        failure: BaseException | None = None
        try:
            try:
                self._begin()
                result = work()
            except BaseException as error:
                failure = error
            self._end()
        except BaseException as error:
            # A signal struck on the way into `_end`. Ours came too late then; one for outer work did not.
            late = self._end_again(error)
            if late is not self.signal or (failure is None and result is _MISSING):
                failure = late
        if failure is None:
            return result
        try:
            raise failure
        finally:
            del failure  # it holds this frame

    def stop(self, signal: BaseException) -> Stage | None:
        """Raise `signal` in the work; the first signal counts, later ones are ignored.

        Returns:
            DROPPED when the work had not begun and now never will, RUNNING when the signal is under way,
            None when it changed nothing: the work had ended, or was stopped before.
        """
        with self._lock:
            if self.signal is not None or self.stage not in (_NEW, _RUNNING):
                return None
            self.signal = signal
            if self.stage is _NEW:
                self.stage = _DROPPED
            else:
                self._unheard = True
                self._send()
            return self.stage

    def again(self) -> None:
        """Raise the signal once more in work that is still running: it may have swallowed the first."""
        with self._lock:
            if self.signal is not None and self.stage is _RUNNING:
                self._unheard = True
                self._send()

    def abandon(self) -> bool:
        """Give up on work that does not end; say whether it was still running."""
        with self._lock:
            still = self.stage is _RUNNING
            if still:
                self.stage = _ABANDONED
            return still

    def _begin(self) -> None:
        ident = threading.get_ident()
        self._outer = _here.innermost
        with self._lock:
            if self.stage is not _NEW:
                raise self.signal or RuntimeError("A Stoppable runs once.")
            self._ident = ident
            self.stage = _RUNNING
        _here.innermost = self

    def _end(self) -> None:
        """Close the door to `stop`, and take back a signal that is under way. May be called twice."""
        with self._lock:
            if self.stage is _RUNNING:
                self.stage = _ENDED
            if self._unheard:
                _raise_in(self._ident, None)
                self._unheard = False
        if _here.innermost is self:
            _here.innermost = self._outer
            if self._outer is not None:
                self._outer.repeat()  # its signal may have been the one just taken back

    def _end_again(self, struck: BaseException) -> BaseException:
        """End for certain after a first try was struck; return what struck that is not for us, if any."""
        try:
            self._end()
        except BaseException as error:
            self._end()
            return error if struck is self.signal else struck
        return struck

    def repeat(self) -> None:
        """Send a signal that has not been heard yet once more."""
        with self._lock:
            if self._unheard and self.stage is _RUNNING:
                self._send()

    def _send(self) -> None:
        if not self._shields:
            _raise_in(self._ident, _as_class(self))
            if self._wake is not None:
                self._wake()

    def hear(self) -> None:
        """Raise the signal here and now if one is under way: for a signal handler in the work's own thread.

        Takes no lock, since the handler may have interrupted whoever holds it.
        """
        if self._unheard and not self._shields and self.stage is _RUNNING and self.signal is not None:
            _raise_in(self._ident, None)
            self._unheard = False
            raise self.signal

    @property
    def is_unheard(self) -> bool:
        """Whether a signal is under way to work that could hear it: it may be waiting in C."""
        return self._unheard and not self._shields and self.stage is _RUNNING

    def heard(self) -> None:
        """Note that the signal is being raised in the work now."""
        self._unheard = False

    def close_shield(self) -> None:
        """Hold signals back from now on."""
        with self._lock:
            if self._unheard:
                _raise_in(self._ident, None)
            self._shields += 1

    def open_shield(self) -> BaseException | None:
        """Let signals through again; return the one that waited."""
        with self._lock:
            self._shields -= 1
            if self._shields or not self._unheard:
                return None
            self._unheard = False
            return self.signal

    def set_wake(self, wake: Callable[[], object] | None) -> Callable[[], object] | None:
        """Have `wake` called after a signal is sent; return what was set before."""
        with self._lock:
            before, self._wake = self._wake, wake
            if wake is not None and self._unheard:
                wake()
            return before


class shield:  # noqa: N801  # reads as a statement
    """Hold signals back over a stretch of our own code; one that came is raised at its end."""

    __slots__ = ("_closed",)

    def __enter__(self) -> Self:
        """Hold signals back from every piece of work that this thread is in."""
        self._closed: list[Stoppable] = []
        try:
            for work in _all_here():
                work.close_shield()
                self._closed.append(work)
        except BaseException:
            self._open()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let signals through, and raise the one that waited."""
        signal = self._open()
        if signal is not None:
            raise signal

    def _open(self) -> BaseException | None:
        signals = [work.open_shield() for work in self._closed]
        waited = [signal for signal in signals if signal is not None]
        return waited[-1] if waited else None


class waking:  # noqa: N801  # reads as a statement
    """Call `wake` when this thread is sent a signal, so that it stops waiting in C and hears it."""

    __slots__ = ("_before", "_wake", "_works")

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake

    def __enter__(self) -> Self:
        """Be woken from now on."""
        self._works = list(_all_here())
        self._before = [work.set_wake(self._wake) for work in self._works]
        return self

    def __exit__(self, *_: object) -> None:
        """Be woken no longer."""
        for work, before in zip(self._works, self._before, strict=True):
            work.set_wake(before)


def _all_here() -> Iterator[Stoppable]:
    """List the works this thread is in, the innermost first."""
    work = _here.innermost
    while work is not None:
        yield work
        work = work._outer  # noqa: SLF001  # of its own class


def _as_class(work: Stoppable) -> type[BaseException]:
    """Make a class that, raised, is the signal itself.

    CPython raises only classes in another thread and calls them without arguments, or, while another
    exception is handled there, a second time with the instance. This one returns the very object, whatever
    its constructor wants, and tells us that it has been heard.
    """
    signal = work.signal
    kind = type(signal)

    def new(*_: object) -> BaseException | None:
        work.heard()
        return signal

    return type(kind.__name__, (kind,), {"__new__": new, "__module__": kind.__module__})


def _raise_in(ident: int, error: type[BaseException] | None) -> None:
    """Raise `error` soon in a thread; None takes back what has not been raised yet."""
    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), what)
