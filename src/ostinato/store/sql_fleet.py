"""The queue's verbs over SQL: the `Fleet` half of a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ostinato.clock import SECOND
from ostinato.records import Run, Wait
from ostinato.states import State
from ostinato.store import claiming, life, recovery, statements, tickets, waits
from ostinato.store.rows import records
from ostinato.store.transactions import Session, Transactions
from ostinato.work import QueueLength, RunBrief, Survey, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.work import Claim, Held, Offer, ProcessEnd

_BEFORE_LOOKING_AGAIN: Final = (0.02, 0.25)
"""Seconds between two looks at runs that are awaited: at first, and at most."""
_REPAIR_EVERY: Final = 30.0
_REPAIRED: Final = 2000
"""Runs that are looked at each time: a hundred thousand that wait must cost nothing that can be measured."""


class SqlFleet(Transactions):
    """The queue, and who takes from it."""

    def __init__(self, max_recoveries: int) -> None:
        self._max_recoveries = max_recoveries
        self._marks: claiming.Marks | None = None
        self._repair_at = 0.0
        self._repaired = ""
        """The last run that was looked at, among those who wait, for wake-ups that were missed."""

    def claim(self, worker_id: str, offer: Offer, *, wait: float = 0.0) -> list[Claim]:  # noqa: ARG002  a database answers at once
        """Take runs for a worker: highest priority first, then in the order they were queued."""
        begun, starts = time.monotonic(), self._marks.starts() if self._marks else {}
        now = self.now()
        taken = self._write(lambda tx: claiming.claim(tx, worker_id, offer, starts, now), again=False)
        if self._marks:
            self._marks.note(taken.seen, 0.0 if starts else time.monotonic() - begun)
        return taken.claims

    def give_back(self, worker_id: str, run_id: str, epoch: int, ending: ProcessEnd) -> Run:
        """Say that the process of a run has ended without ending the run."""

        def work(tx: Session) -> Run:
            run = life.get(tx, run_id, statements.LOCK_RUN)
            if (run.worker_id, run.epoch, run.state.is_live) != (worker_id, epoch, True):
                return run
            recovery.give_back(tx, run, ending, self._max_recoveries)
            return life.get(tx, run_id)

        run = self._write(work)
        self._hint()
        return run

    def requeue(self, run_id: str, pool: str, *, queue: str = "default") -> Run:
        """Give a run that nobody holds and that was lost to the workers of a pool."""

        def work(tx: Session) -> Run:
            run = life.get(tx, run_id, statements.LOCK_RUN)
            if run.state is State.QUEUED and (run.pool, run.queue) == (pool, queue):
                return run
            recovery.requeue(tx, run, pool, queue)
            return life.reopen(tx, life.Reopening(run_id, None, [], [], [], attempt=False))

        run = self._write(work)
        self._hint()
        return run

    def drain(self, worker_id: str) -> None:
        """Note that a worker takes no more runs."""
        self._write(lambda tx: tx.change(statements.DRAIN, id=worker_id))

    def survey(self) -> Survey:
        """Look, in one cheap read, whether any loop has something to do."""
        now = self.now()
        rows = self._read(lambda tx: tx.rows(statements.SURVEY, now=now, dead=[]))
        found = {kind: number for kind, _, number in rows if kind != "dead"}
        dead = sorted(name for kind, name, _ in rows if kind == "dead")
        return Survey(
            now=now,
            dead=dead,
            next_expiry_at=found["expiry"],
            next_due_at=min((at for at in (found["due"], found["token"]) if at is not None), default=None),
            tickets=found["tickets"],
            next_look_at=found["look"],
            next_alarm_at=found["alarm"],
            automations=found["automations"],
            newest_event=found["newest"],
        )

    def wake(self, *, limit: int = 500) -> int:
        """Queue the runs whose waits are over: what is due, and a page of those whose wake-up was missed."""
        now = self.now()
        found = self._read(lambda tx: waits.find_due(tx, now, limit))
        if len(found) < limit and (not found or time.monotonic() >= self._repair_at):
            self._repair_at = time.monotonic() + _REPAIR_EVERY
            missed, self._repaired = self._read(lambda tx: waits.find_missed(tx, self._repaired, _REPAIRED, now))
            found = sorted({*found, *missed})
        woken = self._write(lambda tx: waits.release(tx, found, tx.now())) if found else []
        if woken:
            self._hint()
        return len(woken)

    def hold(self, notes: Sequence[Held]) -> None:
        """Record why runs are not claimed: in their ticket, and, where the reason has changed, an event."""
        if notes:
            self._write(lambda tx: tickets.hold(tx, notes))

    def list_tickets(self, pool: str | None = None, *, after: int = 0, limit: int = 200) -> list[Ticket]:
        """List tickets: of one pool in the order of claiming (`after` is then an offset), else by id."""
        values: dict[str, Any] = {"after": after, "limit": limit}
        if pool is None:
            return self._read(lambda tx: records(Ticket, tx.rows(statements.LIST_TICKETS, **values)))
        return self._read(lambda tx: records(Ticket, tx.rows(statements.LIST_TICKETS_OF_POOL, pool=pool, **values)))

    def find_ticket(self, run_id: str) -> Ticket | None:
        """Return a run's ticket, None when it is not queued."""
        found = self._read(lambda tx: records(Ticket, tx.rows(statements.TICKETS_OF, ids=[run_id])))
        return found[0] if found else None

    def list_queue_lengths(self) -> list[QueueLength]:
        """Count what waits, by pool and queue."""
        rows = self._read(lambda tx: tx.rows(statements.QUEUE_LENGTHS))
        return [QueueLength(pool=row[0], queue=row[1], waiting=row[2], oldest_at=row[3]) for row in rows]

    def list_waits(self, run_id: str) -> list[Wait]:
        """List what a run waits for."""
        return self._read(lambda tx: records(Wait, tx.rows(statements.LIST_WAITS, run_id=run_id)))

    def list_held_runs(self, worker_id: str | None = None, *, pool: str | None = None, limit: int = 500) -> list[Run]:
        """List the runs that workers hold now, oldest claim first."""
        query, values = statements.LIST_HELD, {"worker_id": worker_id, "pool": pool}
        for name, value in values.items():
            query += f" AND {name} = :{name}" if value is not None else ""
        query += " ORDER BY started_at, id LIMIT :limit"
        given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        return self._read(lambda tx: records(Run, tx.rows(query, limit=limit, **given)))

    def await_runs(self, run_ids: Sequence[str], *, wait: float = 0.0) -> list[RunBrief]:
        """Return how those of some runs stand that have ended; wait for the first for so many seconds at most."""
        ids = list(run_ids)
        deadline = time.monotonic() + wait
        pause, longest = _BEFORE_LOOKING_AGAIN
        while True:
            rows = self._read(lambda tx: tx.rows(statements.ENDED_OF, ids=ids))
            left = deadline - time.monotonic()
            if rows or left <= 0 or not ids:
                return [RunBrief(id=row[0], state=State(row[1]), reason=row[2]) for row in rows]
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, longest)

    def watch(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call `heard`, from a thread of the store's own, soon after another process has changed something."""
        return self._watch(heard)

    def lead(self, duty: str, holder: str, seconds: float) -> bool:
        """Take or renew a duty that one server at a time has, for so many seconds."""
        now = self.now()
        values = {"name": duty, "holder": holder, "now": now, "until": now + round(seconds * SECOND)}
        return self._write(lambda tx: tx.change(statements.LEAD, **values)) == 1
