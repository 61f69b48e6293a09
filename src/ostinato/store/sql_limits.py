"""Limits over SQL: who holds slots, who waits: the `Limits` part of a store."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import RunStateError, StoreUnavailableError, UnknownNameError, UnknownRunError, UsageError, nearest
from ostinato.limits import check_weight
from ostinato.records import Run, RunFilter
from ostinato.states import TERMINAL, State
from ostinato.store import slots, waits
from ostinato.store import statements_limits as sql
from ostinato.store.gating import RUN
from ostinato.store.rows import records
from ostinato.store.transactions import Session, Transactions
from ostinato.timing import Gate, LimitRow, Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.limits import Entered, Entrance
    from ostinato.store.bell import Bell
    from ostinato.store.gating import Who

_BEFORE_LOOKING_AGAIN: Final = (0.01, 0.25)
"""Seconds between two looks at slots that other processes may hand over: at first, and at most."""
_AT_ONCE: Final = 500
_REPAIR_EVERY: Final = 50.0
_OPEN: Final = [state for state in State if state not in TERMINAL]


class SqlLimits(Transactions):
    """See `ostinato.store.timing.Limits`."""

    _bell: Bell
    _repaired_at = 0.0

    @abstractmethod
    def request_cancel(self, run_id: str) -> Run:
        """Ask a live run to stop."""

    @abstractmethod
    def list_runs(self, which: RunFilter) -> list[Run]:
        """List runs."""

    @property
    def bell(self) -> Bell:
        """Rung when this process has committed that somebody has a slot he waited for."""
        return self._bell

    # --- task runs

    def enter(self, run_id: str, epoch: int, wanted: Sequence[Entrance]) -> Entered:
        """Take slots for some task runs of a run, or stand in line."""
        entered = self._write(lambda tx: slots.enter(tx, run_id, epoch, wanted, tx.now()))
        runs = [entrance for entrance in wanted if entrance.seq == RUN and RUN not in entered.held]
        if any(passing.policy == "cancel_running" for entrance in runs for passing in entrance.gates):
            self.cancel_overlapped()
        return entered

    def await_slots(self, run_id: str, epoch: int, known: Sequence[int], *, wait: float = 0.0) -> list[int]:
        """Return which task runs of a run hold all that they asked for, but those that are known to."""
        deadline = time.monotonic() + wait
        pause, longest = _BEFORE_LOOKING_AGAIN
        while True:
            seen = self._bell.count
            found, token_at = self.find_slots(run_id, epoch, known)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            until_token = longest if token_at is None else max(0.0, (token_at - self.now()) / SECOND)
            self._bell.wait(seen, min(pause, left, until_token))
            pause = min(pause * 1.5, longest)

    def find_slots(self, run_id: str, epoch: int, known: Sequence[int]) -> tuple[list[int], int | None]:
        """Do so without waiting; where none does, say also when the next token comes that one of them waits for.

        A token that has come is handed out by this.
        """

        def look(tx: Session) -> tuple[list[int], int | None]:
            held, through, token = tx.ask(
                (sql.EPOCH, {"id": run_id}), (sql.THROUGH, {"run_id": run_id}), (sql.WAKES_AT, {"run_id": run_id})
            )
            slots.check_epoch(run_id, epoch, held[0][0] if held else None)
            return [seq for (seq,) in through if seq not in known], token[0][0]

        found, token_at = self._read(look)
        if not found and token_at is not None and token_at <= self.now():
            self._write(lambda tx: slots.admit_due(tx, tx.now(), _AT_ONCE))
            found, token_at = self._read(look)
        return found, token_at

    def leave_gates(self, run_id: str, epoch: int, seqs: Sequence[int]) -> None:
        """Return what some task runs hold, and their places in the line."""

        def work(tx: Session) -> None:
            held = tx.rows(sql.RUN_OF_EPOCH, id=run_id)
            if held and held[0][0] == epoch:
                slots.give_back(tx, run_id, tx.now(), seqs=seqs)

        self._write(work)

    # --- limits declared by hand

    def put_limit(self, limit: LimitRow) -> None:
        """Declare a limit by hand: it goes before what code says. Those who wait are let in as far as there is room."""
        _check(limit)

        def work(tx: Session) -> None:
            now = tx.now()
            slots.declare(tx, msgspec.structs.replace(limit, updated_at=now), now)

        self._write(work)

    def remove_limit(self, name: str) -> None:
        """Forget what was declared by hand."""
        if not self._write(lambda tx: slots.forget(tx, name, tx.now())):
            known = [limit.name for limit in self.list_limits()]
            raise UnknownNameError(f"Nobody has declared a limit {name!r} by hand.{nearest(name, known)}")

    def list_limits(self) -> list[LimitRow]:
        """List what was declared by hand, by name."""
        return self._read(lambda tx: records(LimitRow, tx.rows(sql.LIST_LIMITS)))

    def list_gates(self, limit_name: str | None = None, *, limit: int = 200) -> list[Gate]:
        """List gates that somebody holds or waits for, or has, by name."""
        where = "" if limit_name is None else " WHERE limit_name = :name OR id = :name"
        values: dict[str, Any] = {"limit": limit} | ({} if limit_name is None else {"name": limit_name})
        return self._read(
            lambda tx: records(Gate, tx.rows(f"{sql.LIST_GATES}{where} ORDER BY id LIMIT :limit", **values))
        )

    def list_passages(self, gate: str | None = None, *, run_id: str | None = None, limit: int = 200) -> list[Passage]:
        """List who holds a gate, then who waits for it in the order of the line; or what a run holds and waits for."""
        given = {name: value for name, value in (("gate", gate), ("run_id", run_id)) if value is not None}
        terms = " AND ".join(f"passage.{name} = :{name}" for name in given)
        query = sql.LIST_PASSAGES + (f" WHERE {terms}" if terms else "") + sql.IN_LINE
        return self._read(lambda tx: records(Passage, tx.rows(query, limit=limit, **given)))

    # --- after a commit, and upkeep

    def _handed_on(self, who: Sequence[Who]) -> None:
        """Wake who has got the slots that he waited for; where that fails `wake` repairs it."""
        if not who:
            return
        self._bell.ring(who)
        self._hint()
        ids = sorted({run_id for run_id, seq in who if seq >= 0})
        if not ids:
            return
        with contextlib.suppress(StoreUnavailableError):
            asleep = [row[0] for row in self._read(lambda tx: tx.rows(sql.SUSPENDED_OF, ids=ids))]
            if asleep and self._write(lambda tx: waits.release(tx, asleep, tx.now())):
                self._hint()

    def wake_gates(self) -> int:
        """Let in who waited for a token that is there; now and then repair what a crash may have left."""
        now = self.now()
        count = self._write(lambda tx: slots.admit_due(tx, now, _AT_ONCE)) if self._is_token_due(now) else 0
        if time.monotonic() - self._repaired_at >= _REPAIR_EVERY:
            self._repaired_at = time.monotonic()
            self.repair_gates()
        return count

    def _is_token_due(self, now: int) -> bool:
        return bool(self._read(lambda tx: tx.rows(sql.GATES_DUE, now=now, limit=1)))

    def repair_gates(self) -> int:
        """Return what runs hold that have ended, cancel what overlaps, forget gates that nobody uses.

        Returns:
            For how many runs slots were returned.
        """
        left = [row[0] for row in self._read(lambda tx: tx.rows(sql.LEFT_BEHIND, limit=_AT_ONCE))]
        for run_id in left:
            self._write(lambda tx, run_id=run_id: slots.give_back_of_ended(tx, run_id, tx.now()))  # type: ignore[misc]
        self.cancel_overlapped()
        if self._read(lambda tx: tx.rows(sql.ANY_GATE)):
            self._write(lambda tx: slots.tidy(tx, tx.now()))
        return len(left)

    def cancel_overlapped(self) -> None:
        """Cancel the runs, and their child runs, that a later one is to run instead of."""
        waiting = self._read(lambda tx: tx.rows(sql.TO_CANCEL, limit=_AT_ONCE))
        for gate, run_id in waiting:
            older = self._read(lambda tx, g=gate, r=run_id: tx.rows(sql.OLDER, gate=g, run_id=r))  # type: ignore[misc]
            for (other,) in older:
                self._cancel(other)

    def _cancel(self, run_id: str) -> None:
        with contextlib.suppress(RunStateError, UnknownRunError):  # it has ended meanwhile
            self.request_cancel(run_id)
        for child in self.list_runs(RunFilter(parent_run_id=run_id, states=_OPEN, limit=_AT_ONCE)):
            if child.cancel_requested_at is None:
                self._cancel(child.id)


def _check(limit: LimitRow) -> None:
    """Refuse a limit that cannot be kept.

    Raises:
        UsageError: Saying what is wrong.
    """
    if not limit.name:
        raise UsageError("A limit has a name.")
    if limit.slots is not None and limit.slots < 0:
        raise UsageError(f"A limit's slots are 0 (nobody passes) or more, not {limit.slots}.")
    if limit.slots is None and limit.rate is None:
        raise UsageError(f"Limit {limit.name} would limit nothing: give it slots, or a rate.")
    if limit.rate is not None and not 0 < limit.rate <= SECOND:
        raise UsageError(f"A limit's rate is more than 0 a second and {SECOND:,} at most, not {limit.rate}.")
    if limit.burst < 1:
        raise UsageError(f"A limit's burst is 1 or more, not {limit.burst}.")
    try:
        weights = msgspec.json.decode(limit.weights, type=dict[str, float])
    except msgspec.MsgspecError as error:
        raise UsageError(f"A limit's weights are a JSON object of numbers: {error}.") from None
    for share, weight in weights.items():
        check_weight(share, weight, "A limit's weights")
