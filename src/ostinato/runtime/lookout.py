"""One thread that waits for the ends of other runs, for all who wait for one."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ostinato.errors import OstinatoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.store.store import Store

_log = logging.getLogger("ostinato.internal")
_TOGETHER = 0.003
"""Seconds in which those who begin to wait at nearly the same time come together, to be asked for at once."""
_ASK = 0.5
"""Seconds that the store is asked to wait for an end: whoever comes meanwhile is asked for after that."""
_AGAIN = 1.0


class Lookout:
    """Calls back when runs have ended. The thread starts with the first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, run_id: str, ended: Callable[[], None]) -> None:
        """Call `ended`, on the lookout's thread, once that run has ended."""
        with self._changed:
            self._waiting.setdefault(run_id, []).append(ended)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ostinato-lookout", daemon=True)
                self._thread.start()
            self._changed.notify()

    def drop(self, run_id: str, ended: Callable[[], None]) -> bool:
        """Do not call; False when that has been done, or is about to be."""
        with self._changed:
            waiting = self._waiting.get(run_id, [])
            if ended not in waiting:
                return False
            waiting.remove(ended)
            if not waiting:
                del self._waiting[run_id]
            return True

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._closed:
                    self._changed.wait(_TOGETHER)
                if self._closed:
                    return
                ids = list(self._waiting)
            try:
                ended = [brief.id for brief in self._store.await_runs(ids, wait=_ASK)]
            except OstinatoError as error:  # whatever it is, those who wait must hear of the ends in the end
                _log.debug("runs cannot be waited for at the moment: %s", error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, _AGAIN)
                continue
            for run_id in ended:
                self._tell(run_id)

    def _tell(self, run_id: str) -> None:
        with self._changed:
            callbacks = self._waiting.pop(run_id, [])
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _log.exception("Who waited for run %s could not be told of its end.", run_id)
