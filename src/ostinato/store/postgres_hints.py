"""Hints between the processes of one PostgreSQL: runs were queued, or have ended; somebody may want to look.

A NOTIFY takes a lock that all commits with one share, so it is never part of a commit. A thread sends one, at most
twenty a second, however much has happened meanwhile; it lives only while there is something to say.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import psycopg

from ostinato.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.store.postgres_link import Connection, Link

_CHANNEL: Final = "ostinato"
_APART: Final = 0.05
"""Seconds between two hints of one process, at least."""
_IDLE: Final = 5.0
"""Seconds after which the thread ends when there is nothing to say."""
_AGAIN: Final = 2.0
"""Seconds after which a listener whose connection was lost connects again."""


class Hints:
    """What one store sends and hears."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._sender: threading.Thread | None = None
        self._closed = threading.Event()
        self._listening: list[Connection] = []

    def send(self) -> None:
        """Say that something has happened; it is sent soon."""
        self._news.set()
        if self._sender is None:
            with self._lock:
                if self._sender is None and not self._closed.is_set():
                    self._sender = threading.Thread(target=self._send, name="ostinato-hints", daemon=True)
                    self._sender.start()

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call `heard` for the hints of others; return what ends it."""
        ended = threading.Event()
        threading.Thread(target=self._listen, args=(heard, ended), name="ostinato-watch", daemon=True).start()
        return ended.set

    def close(self) -> None:
        """Say what is still to be said, and end."""
        self._closed.set()
        sender = self._sender
        self._news.set()
        if sender is not None:
            sender.join(1.0)
        for connection in self._listening:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _send(self) -> None:
        while True:
            if not self._news.wait(_IDLE):
                with self._lock:
                    if not self._news.is_set():
                        self._sender = None
                        return
            self._news.clear()
            with contextlib.suppress(StoreError):
                self._link.persist(lambda connection, _: connection.execute(f"NOTIFY {_CHANNEL}, '{self._link.name}'"))
            if self._closed.wait(_APART) and not self._news.is_set():
                return

    def _listen(self, heard: Callable[[], None], ended: threading.Event) -> None:
        while not (ended.is_set() or self._closed.is_set()):
            with contextlib.suppress(psycopg.Error, StoreError):
                self._hear(heard, ended)
            if not self._closed.is_set():
                ended.wait(_AGAIN)

    def _hear(self, heard: Callable[[], None], ended: threading.Event) -> None:
        with contextlib.closing(self._link.connect()) as connection:
            connection.execute(f"LISTEN {_CHANNEL}")
            self._listening.append(connection)
            try:
                while not (ended.is_set() or self._closed.is_set()):
                    for notice in connection.notifies(timeout=1.0, stop_after=1):
                        if notice.payload != self._link.name:
                            heard()
            finally:
                self._listening.remove(connection)
