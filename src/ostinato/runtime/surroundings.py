"""What user code may change of the process it runs in, kept before a run and put back after it.

Put back: the folder, the environment, `sys.argv`, `sys.path`, the standard streams, the file mask, the handlers and the
level of the root logger, and signal handlers. Not put back: what modules keep in their globals. A run that must not
meet what another has left there wants a process of its own: a deployment's option ``cold``, `ostinato worker --cold`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ostinato.launchers.tree import children_of

_SIGNALS = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGURG", "SIGCHLD", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
]
_OURS = ("ostinato.executors.child", "multiprocessing.resource_tracker")
"""Children that are meant to stay: those of the executor ``processes``, and one that Python itself keeps."""
_MOMENT = 0.02
"""Seconds for threads that are just ending to have ended."""


class Surroundings:
    """The process as it was before a run. In the main thread."""

    def __init__(self) -> None:
        root = logging.getLogger()
        self._cwd = os.getcwd()  # noqa: PTH109  # a path costs three times as much, on every run
        self._environment = _environment().copy()
        self._argv, self._path = list(sys.argv), list(sys.path)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._handlers, self._level, self._disabled = list(root.handlers), root.level, root.manager.disable
        self._signals = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self._mask = _mask()
        self._threads = set(threading.enumerate())

    def restore(self) -> None:
        """Put everything back."""
        with contextlib.suppress(OSError):
            os.chdir(self._cwd)
        if _environment() != self._environment:
            self._restore_environment()
        sys.argv[:], sys.path[:] = self._argv, self._path
        sys.stdin, sys.stdout, sys.stderr = self._streams
        root = logging.getLogger()
        root.handlers[:] = self._handlers
        root.setLevel(self._level)
        root.manager.disable = self._disabled
        for number, handler in self._signals:
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
        os.umask(self._mask)

    def _restore_environment(self) -> None:
        now, before = _environment().copy(), self._environment
        for name in now.keys() - before.keys():
            os.unsetenv(name)
        for name, value in before.items():
            if now.get(name) != value:
                os.putenv(name, value)
        _environment().clear()
        _environment().update(before)

    def left_behind(self) -> list[str]:
        """Name the threads and the child processes that are there now and were not; dead children are buried."""
        return [*(f"thread {thread.name!r}" for thread in self._new_threads()), *_children()]

    def _new_threads(self) -> list[threading.Thread]:
        deadline = time.monotonic() + _MOMENT
        while new := [one for one in threading.enumerate() if one not in self._threads and not _is_ours(one)]:
            if time.monotonic() > deadline:
                return new
            new[0].join(_MOMENT)
        return []


def _environment() -> dict[bytes, bytes]:
    """Return the environment as `os` keeps it: to decode it takes a quarter of a millisecond, on every run."""
    found: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    return found


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("ostinato")


def _children() -> list[str]:
    if not _has_children():
        return []
    found = []
    for pid in children_of(os.getpid()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            command = "?"
        if not command:  # it is dead: one of ours to bury since it daemonised
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        elif not any(ours in command for ours in _OURS):
            found.append(f"process {pid} ({command[:60]})")
    return found


def _has_children() -> bool:
    """Ask the system, in one call, before looking at each thread for those it has."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _mask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask
