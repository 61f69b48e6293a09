"""Slots of limits for the task runs of this process: asked of the store in batches, waited for in one thread a run.

```
enter ─► a line in this process, as long as the limit has slots ─► the asker: one call of the store for all that came
           ▲                                                          ├─► held: it goes on
           └── leave, after the commit that returned the slot          └─► in the store's line ─► the watcher ─► held
```

The line in this process comes first, so that a map over a million items does not put a million places into the store's
line: this process never asks for more slots of a limit, and of one share of it, than could be its own at once.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.errors import OstinatoError, StaleEpochError, StoreUnavailableError
from ostinato.limits import Entrance
from ostinato.outcomes import LeaseLost, Suspended
from ostinato.runtime.process import sweep
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.limits import Entered, Passing
    from ostinato.records import TaskRun
    from ostinato.runtime.gates import Gates
    from ostinato.runtime.runner import Runner
    from ostinato.store.store import Store

    Key = tuple[str, int]
    """A run, and the epoch in which this process holds it."""

_log = logging.getLogger("ostinato.internal")
_LONG: Final = 20.0
"""Seconds that the store is asked to wait …"""
_SHORT: Final = 1.0
"""… and where this process itself looks meanwhile for others that have died."""
_IDLE: Final = 1.0
"""Seconds after which a watcher ends for whom nobody waits."""
_AGAIN: Final = 1.0
_FORGOTTEN: Final = 10.0
"""Seconds after which a slot is returned that was handed to a call which this pass has not made."""


class Stage(enum.Enum):
    """How far one has come."""

    IN_LINE = "in the line of this process"
    ASKED = "asked of the store, or about to be"
    WAITING = "in the line of the store"
    HELD = "through"
    GONE = "does not want it any more"


class Entry:
    """One attempt that passes limits.

    Args:
        runner: The pass that it belongs to.
        row: Its task run; None for the run itself.
        limits: What it passes.
        go: Called, from any thread, when it is through, or with what went wrong; not if it is so at once.
    """

    def __init__(
        self,
        runner: Runner,
        row: TaskRun | None,
        limits: Sequence[Passing],
        go: Callable[[BaseException | None], None],
    ) -> None:
        self.runner, self.row, self.limits, self.go = runner, row, limits, go
        self.key: Key = (runner.run.id, runner.run.epoch)
        self.seq = -1 if row is None else row.seq
        self.lines = [limit for limit in limits if limit.slots is not None]
        self.taken = 0
        """In how many of the lines of this process its turn has come."""
        self.in_line: Callable[[], None] | None = None
        self.stage = Stage.IN_LINE
        self.failure: BaseException | None = None
        """Why it could not be asked for."""
        self.refused: str | None = None
        """How the run ends that is not let in because of another."""
        self.number: int | None = None
        """Of what the run is seen to wait for."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is neither through nor gone."""
        return self.stage not in (Stage.HELD, Stage.GONE)


class Slots:
    """The limits that the task runs of this process pass.

    Args:
        store: Who counts.
        gates: The lines in this process.
        sweeps: Whether nobody else looks for processes that have died holding slots.
    """

    def __init__(self, store: Store, gates: Gates, *, sweeps: bool = False) -> None:
        self._store, self._gates, self._sweeps = store, gates, sweeps
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._asking: list[Entry] = []
        self._leaving: list[Entry] = []
        self._waiting: dict[Key, dict[int, Entry]] = {}
        self._held: dict[Key, set[int]] = {}
        self._watched: set[Key] = set()
        self._users: set[str] = set()
        self._rooms: dict[str, int | None] = {}
        self._asker: threading.Thread | None = None
        self._closed = False

    # --- what attempts ask

    def enter(self, entry: Entry, *, here: bool = False) -> bool:
        """Pass the limits, or stand in line.

        Args:
            entry: Who.
            here: Whether the store may be asked in this thread.

        Returns:
            Whether it is through already; else its `go` is called.

        Raises:
            StaleEpochError: If the run is not held any more; only where it is asked here.
        """
        self._users.add(entry.key[0])
        if not self._line(entry):
            return False
        if here:
            return self._ask_here(entry)
        self._hand_on(entry)
        return False

    def withdraw(self, entry: Entry, signal: BaseException | None) -> bool:
        """Take somebody out who waits; False where it is through already.

        A run that gives up its process keeps its places in the store's lines.
        """
        with self._lock:
            if entry.stage in (Stage.HELD, Stage.GONE):
                return entry.stage is Stage.GONE
            was, entry.stage = entry.stage, Stage.GONE
            self._drop(entry)
            if was is not Stage.IN_LINE and not isinstance(signal, (Suspended, LeaseLost)):
                self._return_later(entry)
            in_line = entry.in_line
        if in_line is not None:
            self._gates.withdraw(_name_of(entry.lines[entry.taken]), in_line)
        self._release(entry)
        return True

    def leave(self, entry: Entry) -> None:
        """Know that what an attempt held is returned to the store, or will be: others of this process may ask."""
        with self._lock:
            self._held.get(entry.key, set()).discard(entry.seq)
        self._release(entry)

    def let_go(self, entry: Entry, signal: BaseException | None) -> None:
        """Withdraw somebody, or return what he has got by then."""
        if self.withdraw(entry, signal):
            return
        if not isinstance(signal, (Suspended, LeaseLost)):
            self._return_later(entry)
        self.leave(entry)

    def _return_later(self, entry: Entry) -> None:
        with self._lock:
            self._leaving.append(entry)
            self._start_asker()
            self._changed.notify_all()

    def used_by(self, run_id: str) -> bool:
        """Tell whether a run has asked for any slots, and forget that."""
        with self._lock:
            was = run_id in self._users
            self._users.discard(run_id)
        return was

    def close(self) -> None:
        """End the threads."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        if self._asker is not None:
            self._asker.join(timeout=10)

    # --- the lines in this process

    def _line(self, entry: Entry) -> bool:
        """Stand in the lines of this process one after the other; False while it must wait in one."""
        while entry.taken < len(entry.lines):
            limit = entry.lines[entry.taken]

            def go() -> None:
                if self._turn(entry) and self._line(entry):
                    self._hand_on(entry)

            entry.in_line = go
            if not self._gates.enter(_name_of(limit), self._room(limit), 1, go):
                return False
            if not self._turn(entry):
                return False
        return True

    def _turn(self, entry: Entry) -> bool:
        """Note that its turn has come in the line it stood in, unless it has gone away meanwhile."""
        with self._lock:
            limit, is_gone = entry.lines[entry.taken], entry.stage is Stage.GONE
            entry.in_line = None
            if not is_gone:
                entry.taken += 1
        if is_gone:
            self._gates.leave(_name_of(limit), 1)
        return not is_gone

    def _release(self, entry: Entry) -> None:
        with self._lock:
            taken, entry.taken = entry.taken, 0
        for limit in entry.lines[:taken]:
            self._gates.leave(_name_of(limit), 1)

    def _room(self, limit: Passing) -> float:
        room = self._rooms.get(limit.gate, limit.slots)
        return float("inf") if room is None else max(1, room)  # one must ask, to hear when there are slots again

    # --- asking the store

    def _ask_here(self, entry: Entry) -> bool:
        entry.stage = Stage.ASKED
        try:
            answer = self._store.enter(*entry.key, [Entrance(entry.seq, list(entry.limits))])
        except BaseException:
            with self._lock:
                entry.stage = Stage.GONE
            self._release(entry)
            raise
        self._learn([entry], answer)
        entry.refused = answer.refused
        if entry.seq in answer.held or answer.refused:
            with self._lock:
                entry.stage = Stage.HELD
                self._held.setdefault(entry.key, set()).add(entry.seq)
            return True
        self._stall(entry)
        return False

    def _hand_on(self, entry: Entry) -> None:
        with self._lock:
            if entry.stage is Stage.GONE:
                return
            entry.stage = Stage.ASKED
            self._asking.append(entry)
            self._start_asker()
            self._changed.notify_all()

    def _start_asker(self) -> None:
        if self._asker is None:
            self._asker = threading.Thread(target=self._ask, name="ostinato-slots", daemon=True)
            self._asker.start()

    def _ask(self) -> None:
        """Ask for all that have come, again and again: meanwhile others gather."""
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._asking or self._leaving or self._closed)
                if self._closed:
                    return
                asking, self._asking = [entry for entry in self._asking if entry.stage is Stage.ASKED], []
                leaving, self._leaving = self._leaving, []
            for key, entries in _by_run(asking):
                self._ask_for(key, entries)
            for key, entries in _by_run(leaving):
                self._return(key, [entry.seq for entry in entries])

    def _ask_for(self, key: Key, entries: list[Entry]) -> None:
        try:
            answer = self._store.enter(*key, [Entrance(entry.seq, list(entry.limits)) for entry in entries])
        except Exception as error:  # whoever waits must hear of it, whatever it is
            for entry in entries:
                self._end(entry, error)
            return
        self._learn(entries, answer)
        held = set(answer.held)
        for entry in entries:
            if entry.seq in held:
                self._end(entry, None)
            else:
                self._stall(entry)

    def _return(self, key: Key, seqs: list[int]) -> None:
        try:
            self._store.leave_gates(*key, seqs)
        except OstinatoError as error:  # they are returned with the end of the run
            _log.debug("slots of run %s could not be returned: %s", key[0], error)

    def _learn(self, entries: Sequence[Entry], answer: Entered) -> None:
        """Let more, or fewer, of this process ask where somebody has changed a limit by hand."""
        said = {limit.gate: limit for entry in entries for limit in entry.lines}
        for gate, limit in said.items():
            room = answer.rooms.get(gate, limit.slots)
            if room == self._rooms.get(gate, limit.slots):
                continue
            self._rooms[gate] = room
            for name in {_name_of(line) for entry in entries for line in entry.lines if line.gate == gate}:
                self._gates.widen(name, self._room(limit))

    # --- waiting for the store

    def _stall(self, entry: Entry) -> None:
        """Stand in the store's line: the run is seen to wait, and its process may be given up."""
        with self._lock:
            if entry.stage is Stage.GONE:
                return
            entry.stage = Stage.WAITING
            self._waiting.setdefault(entry.key, {})[entry.seq] = entry
            runner = entry.runner
            if entry.row is not None:
                entry.number = runner.still.await_(runner, "slot", key=runner.run.id, seq=entry.seq, due_at=None)
                waiting = msgspec.structs.replace(entry.row, state=State.WAITING, reason="limit")
                runner.journal.note(waiting)
                runner.under_way[entry.seq] = waiting
            if entry.key not in self._watched:
                self._watched.add(entry.key)
                threading.Thread(target=self._watch, args=(entry.key,), name="ostinato-slots", daemon=True).start()
            self._changed.notify_all()

    def _watch(self, key: Key) -> None:
        """Wait for the slots of one run, as long as anybody waits for one."""
        strangers: dict[int, float] = {}
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._waiting.get(key) or self._closed, _IDLE)
                if self._closed or not self._waiting.get(key):
                    self._watched.discard(key)
                    return
                known = sorted({*self._held.get(key, ()), *strangers})
            try:
                found = self._store.await_slots(*key, known, wait=_SHORT if self._sweeps else _LONG)
                if self._sweeps and not found:
                    sweep(self._store)
            except StoreUnavailableError as error:
                _log.debug("slots cannot be waited for at the moment: %s", error)
                time.sleep(_AGAIN)
                continue
            except Exception as error:  # whoever waits must hear of it, whatever it is
                for entry in list(self._waiting.get(key, {}).values()):
                    self._end(entry, error)
                continue
            for seq in found:
                self._got(key, seq, strangers)
            self._return_strange(key, strangers)

    def _got(self, key: Key, seq: int, strangers: dict[int, float]) -> None:
        """Let one through; where this pass has not asked for it, or has just had the answer, remember that."""
        with self._lock:
            entry = self._waiting.get(key, {}).get(seq)
        if entry is None:
            strangers.setdefault(seq, time.monotonic())
        else:
            self._end(entry, None)

    def _return_strange(self, key: Key, strangers: dict[int, float]) -> None:
        """Return what an earlier pass had asked for, and this one does not."""
        with self._lock:
            ours = {*self._held.get(key, ()), *(entry.seq for entry in self._asking if entry.key == key)}
        old = [seq for seq, since in strangers.items() if time.monotonic() - since > _FORGOTTEN]
        for seq in [*old, *ours.intersection(strangers)]:
            strangers.pop(seq, None)
        if forgotten := [seq for seq in old if seq not in ours]:
            self._return(key, forgotten)

    def _end(self, entry: Entry, error: BaseException | None) -> None:
        """Let one go on, with what went wrong if anything did."""
        with self._lock:
            if entry.stage is Stage.GONE:
                return
            self._drop(entry)
            entry.stage = Stage.HELD if error is None else Stage.GONE
            if error is None:
                self._held.setdefault(entry.key, set()).add(entry.seq)
        if error is not None:
            self._release(entry)
            if isinstance(error, StaleEpochError):
                error = LeaseLost(str(error))
            entry.failure = error
        entry.go(error)

    def _drop(self, entry: Entry) -> None:
        """Take one out of those who wait."""
        waiting = self._waiting.get(entry.key)
        if waiting is not None and waiting.get(entry.seq) is entry:
            del waiting[entry.seq]
            if not waiting:
                del self._waiting[entry.key]
        if entry.number is not None:
            entry.runner.still.got(entry.number)
            entry.number = None


def _name_of(limit: Passing) -> str:
    return f"limit:{limit.gate}|{limit.share}"


def _by_run(entries: Sequence[Entry]) -> list[tuple[Key, list[Entry]]]:
    grouped: dict[Any, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.key, []).append(entry)
    return list(grouped.items())
