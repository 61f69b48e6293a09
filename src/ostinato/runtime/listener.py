"""One thread that waits for events, for all who wait for one in this process."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import msgspec

from ostinato.errors import OstinatoError
from ostinato.timing import Sought

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.records import StoredEvent
    from ostinato.store.store import Store

    Heard = Callable[[StoredEvent], None]

_log = logging.getLogger("ostinato.internal")
_TOGETHER = 0.003
"""Seconds in which those who begin to wait at nearly the same time come together, to be asked for at once."""
_ASK = 0.5
"""Seconds that the store is asked to wait: whoever comes meanwhile is asked for after that."""
_AGAIN = 1.0


class Listening(msgspec.Struct, frozen=True, eq=False):
    """Somebody who waits for an event."""

    run_id: str
    sought: Sought
    heard: Heard


class Listener:
    """Calls back when an event is there. The thread starts with the first who waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._listening: dict[int, Listening] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def listen(self, run_id: str, sought: Sought, heard: Heard) -> Listening:
        """Call `heard`, on the listener's thread, once with the first such event; what is returned ends that."""
        one = Listening(run_id, sought, heard)
        with self._changed:
            self._listening[id(one)] = one
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ostinato-listener", daemon=True)
                self._thread.start()
            self._changed.notify()
        return one

    def drop(self, one: Listening) -> None:
        """Do not call any more; a call may be under way."""
        with self._changed:
            self._listening.pop(id(one), None)

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
                while not self._listening and not self._closed:
                    self._changed.wait()
                if not self._closed:
                    self._changed.wait(_TOGETHER)
                if self._closed:
                    return
                asked = list(self._listening.values())
            if asked:
                self._ask(asked)

    def _ask(self, asked: list[Listening]) -> None:
        sought = list(dict.fromkeys(one.sought for one in asked))
        try:
            # they all are the same run's, or runs that it carries out itself: the first may ask for all
            found = self._store.await_events(asked[0].run_id, sought, wait=_ASK)
        except OstinatoError as error:  # whatever it is, those who wait must hear of their events in the end
            _log.debug("events cannot be waited for at the moment: %s", error)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _AGAIN)
            return
        for stored in found:
            for one in asked:
                if self._is_for(one, stored):
                    self._tell(one, stored)

    @staticmethod
    def _is_for(one: Listening, stored: StoredEvent) -> bool:
        event, sought = stored.event, one.sought
        return (event.kind, event.key) == (sought.kind, sought.key) and stored.id > sought.after

    def _tell(self, one: Listening, stored: StoredEvent) -> None:
        with self._changed:
            if self._listening.pop(id(one), None) is None:
                return
        try:
            one.heard(stored)
        except Exception:
            _log.exception("Who waited for %s could not be told of it.", one.sought)
