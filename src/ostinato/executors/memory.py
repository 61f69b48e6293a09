"""Looks how much memory child processes take, each with all that it has started, and says when one takes too much."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 0.2
"""Seconds between two looks."""


class MemoryWatch:
    """One thread that looks at all processes with a limit. It starts with the first and ends with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._is_looking = False

    def watch(self, pid: int, limit: int, over: Callable[[int], None]) -> Callable[[], None]:
        """Call `over` with the bytes that were seen, once, when a process and its children take more than `limit`.

        Returns:
            What ends that.
        """
        with self._lock:
            self._watched[pid] = (limit, over)
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look, name="ostinato-memory", daemon=True).start()
        return lambda: self._forget(pid)

    def _forget(self, pid: int) -> None:
        with self._lock:
            self._watched.pop(pid, None)

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                watched = dict(self._watched)
                if not watched:
                    self._is_looking = False
                    return
            for pid, (limit, over) in watched.items():
                taken = memory_of(pid)
                if taken > limit:
                    self._forget(pid)
                    over(taken)
            pause.wait(_EVERY)


def memory_of(pid: int) -> int:
    """Return the resident memory of a process and all its children, in bytes; 0 when it is gone."""
    import psutil  # only where a limit is set

    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    taken = 0
    for each in tree:
        try:
            taken += each.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return taken
