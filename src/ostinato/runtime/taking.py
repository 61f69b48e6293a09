"""Which events a run has taken: none is taken twice, whatever the order in which its waits go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.errors import ResultError

if TYPE_CHECKING:
    from ostinato.records import StoredEvent
    from ostinato.runtime.runner import Runner
    from ostinato.waiting import Awaiting

    Place = tuple[str, str, int | None]
    """A kind, a key, and from when on its events count."""

_AT_CREATION = ("run.queued", "audit.run_started")
"""Kinds of events that a run has from the moment on in which it was made."""


class Taking:
    """The events that the waits of one run have taken."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._taken: set[int] | None = None
        self._replayed: set[int] = set()
        self._upto: dict[Place, int] = {}
        self._start: int | None = None

    def after(self, what: Awaiting) -> int:
        """Return the number up to which all events of a kind and key are taken, or do not count."""
        place = (what.kind, what.key, what.since)
        found = self._upto.get(place)
        if found is None:
            found = self._begin(what)
            with self._lock:
                found = self._upto.setdefault(place, found)
        return found

    def take(self, what: Awaiting, number: int) -> bool:
        """Take an event, the first after `after`; False where another wait has it."""
        place = (what.kind, what.key, what.since)
        with self._lock:
            taken = self._all_taken()
            is_new = number not in taken
            taken.add(number)
            self._upto[place] = max(self._upto.get(place, 0), number)
        return is_new

    def replayed(self, number: int) -> None:
        """Note an event that an earlier pass has taken."""
        with self._lock:
            self._replayed.add(number)
            if self._taken is not None:
                self._taken.add(number)

    def _all_taken(self) -> set[int]:
        """Return all that was taken, also by waits of earlier passes that this pass has not reached yet."""
        if self._taken is None:
            self._taken = set(self._replayed)
            for row in self._runner.memo.of_kind("wait"):
                if row.result is not None and row.error is None:
                    self._taken |= _numbers(self._load(row.result))
        return self._taken

    def _load(self, stored: bytes) -> Any:
        try:
            return self._runner.session.results.load(stored)
        except ResultError:  # it will be waited for again
            return None

    def _begin(self, what: Awaiting) -> int:
        store, run = self._runner.session.store, self._runner.run
        if what.since is not None:
            return store.place_before(what.kind, what.key, what.since)
        if self._start is None:
            first = store.list_events(run.id, limit=1)
            self._start = first[0].id if first and _is_of_creation(first[0]) else -1
        return self._start if self._start >= 0 else store.place_before(what.kind, what.key, run.created_at)


def _is_of_creation(stored: StoredEvent) -> bool:
    event = stored.event
    if event.kind == "run.queued":
        return bool(msgspec.json.decode(event.data).get("why") == "created")
    return event.kind in _AT_CREATION


def _numbers(value: Any) -> set[int]:
    event = value.get("event") if isinstance(value, dict) else None
    return {event[0]} if event else set()
