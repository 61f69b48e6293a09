"""What runs and task runs do at gates: a run before it may be claimed, a task run before it begins, both when they end.

```
queue     a run that becomes queued ─► takes its gates ─► through: its ticket      refused by its overlap: its end
enter     task runs of a run that somebody holds ─► take theirs, or stand in line
give_back what has ended ─► slots go to whoever is next ─► settle: tickets of the runs that are through now
```

Each is part of a transaction that has locked the run. Who is through because of another's return is noted in
`Session.handed_on`; its process, or the run itself where it has none, is woken after the commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.errors import StaleEpochError
from ostinato.limits import Entered, Passing, from_json
from ostinato.records import Event
from ostinato.states import State
from ostinato.store import statements_limits as sql
from ostinato.store import tickets
from ostinato.store.events import append, as_json
from ostinato.store.gating import RUN, Book, questions_of, shape, weights_of
from ostinato.store.rows import records
from ostinato.store.transactions import named
from ostinato.timing import LimitRow, Passage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostinato.limits import Entrance
    from ostinato.store.transactions import Session
    from ostinato.timing import Gate

_REFUSING: Final = {"skip": State.SKIPPED, "cancel_new": State.CANCELLED}
_NEW: Final = ("created", "start")
"""Why a run becomes queued for the first time: then its overlap may refuse it."""
_SHOWN: Final = 5


def queue(tx: Session, gates: Mapping[str, str | None], now: int, why: str) -> list[str]:
    """Make the tickets of queued runs: of those that pass gates once they hold them all.

    Args:
        tx: The transaction; it has the runs locked, or has made them.
        gates: By run its `Run.gates`.
        now: The time.
        why: As for `tickets.put`.

    Returns:
        Those that were refused, and have ended.
    """
    refused = [run_id for run_id, needed in gates.items() if needed and not _queue(tx, run_id, needed, now, why)]
    free = [run_id for run_id, needed in gates.items() if not needed]
    if free:
        tickets.put(tx, free, now, why)
    return refused


def _queue(tx: Session, run_id: str, gates: str, now: int, why: str) -> bool:
    passings = from_json(gates)
    with Book(tx, now) as book:
        own, known, limits = book.look((sql.PASSAGES_OF, {"run_id": run_id, "least": RUN}), *questions_of(passings))
        book.know(known, limits, passings)
        has = [passage for passage in records(Passage, own) if passage.seq == RUN]
        if not has:
            refusal = refusal_of(book, passings) if why in _NEW else None
            if refusal is not None:
                _refuse(tx, run_id, refusal, now)
                return False
            book.take((run_id, RUN), 0, passings, now)
        elif all(passage.held for passage in has):
            book.through.append((run_id, RUN))
    settle(book, own=run_id, why=why)
    return True


def refusal_of(book: Book, passings: Sequence[Passing]) -> State | None:
    """Say how a run ends that its overlap does not let begin; None where it may begin, or wait."""
    for passing in passings:
        if passing.policy in _REFUSING and book.is_full(passing):
            return _REFUSING[passing.policy]
    return None


def is_refused(tx: Session, gates: str, now: int) -> State | None:
    """Say how a run with these gates would end if it were made now; None if it would not be refused."""
    passings = [passing for passing in from_json(gates) if passing.policy in _REFUSING]
    if not passings:
        return None
    book = Book(tx, now)
    gates_, limits = book.look(*questions_of(passings))
    book.know(gates_, limits, passings)
    return refusal_of(book, passings)


def _refuse(tx: Session, run_id: str, state: State, now: int) -> None:
    tx.put(sql.MARK_OVERLAP, id=run_id, state=str(state), now=now)
    append(tx, [Event(at=now, kind=f"run.{state}", run_id=run_id, data=as_json({"reason": "overlap"}))])


def enter(tx: Session, run_id: str, epoch: int, wanted: Sequence[Entrance], now: int) -> Entered:
    """Take gates for task runs of a run, or for a run that its own process carries out (`seq` -1).

    Raises:
        StaleEpochError: If nobody holds the run in that epoch.
    """
    passings = [passing for entrance in wanted for passing in entrance.gates]
    seqs = [entrance.seq for entrance in wanted]
    guard, _, own, gates_of_own, known, limits = tx.ask(
        (sql.RUN_OF_EPOCH, {"id": run_id}),
        (sql.LOCK_GATES, {}),
        (sql.PASSAGES_OF_SEQS, {"run_id": run_id, "seqs": seqs}),
        (sql.GATES_OF_RUN, {"run_id": run_id}),
        *questions_of(passings),
    )
    check_epoch(run_id, epoch, guard[0][0] if guard else None)
    with Book(tx, now) as book:
        book.know(known, limits, passings)
        book.know(gates_of_own)
        has = records(Passage, own)
        if any(entrance.seq == RUN for entrance in wanted) and epoch <= 1 and not has:
            refused = refusal_of(book, passings)
            if refused is not None:
                return Entered([], {}, str(refused))
        held = [entrance.seq for entrance in wanted if _enter(book, run_id, epoch, entrance, has)]
    settle(book, own=run_id, told=[entrance.seq for entrance in wanted])
    return Entered(held, book.rooms(passings))


def check_epoch(run_id: str, epoch: int, found: int | None) -> None:
    """Refuse who does not hold a run any more."""
    if found != epoch:
        raise StaleEpochError(
            f"Run {run_id} is no longer held in epoch {epoch}, so it takes no slots: its lease ended, another process "
            f"took it up or it has ended."
        )


def _enter(book: Book, run_id: str, epoch: int, entrance: Entrance, has: Sequence[Passage]) -> bool:
    """Take what one task run asks for; what it has is kept where it still asks for the same."""
    own = [passage for passage in has if passage.seq == entrance.seq]
    wanted = {passing.gate for passing in entrance.gates}
    if any(passage.gate not in wanted for passage in own) or (
        own and len(own) < len(wanted) and all(passage.held for passage in own)
    ):
        book.leave(own)  # it was another call that had this number in an earlier pass
        own = []
    if own:
        return all(passage.held for passage in own)
    return book.take((run_id, entrance.seq), epoch, entrance.gates, book.now)


def give_back(tx: Session, run_id: str, now: int, *, seqs: Sequence[int] | None = None, least: int = RUN) -> None:
    """Return what a run has taken, or some of its task runs; places in lines too.

    Args:
        tx: The transaction; it has the run locked.
        run_id: The run.
        now: The time.
        seqs: Only what these task runs have; with -1 among them, all that the run and its task runs have.
        least: Only what task runs from this number on have: 0 leaves the run its own.
    """
    values = {"run_id": run_id, "least": least}
    question = (sql.PASSAGES_OF, values)
    if seqs is not None and RUN not in seqs:
        question = (sql.PASSAGES_OF_SEQS, {"run_id": run_id, "seqs": list(seqs)})
    with Book(tx, now) as book:
        own, known = book.look(question, (sql.GATES_OF_RUN, {"run_id": run_id}))
        if own:
            book.know(known)
            book.leave(records(Passage, own))
    settle(book)


def give_back_of_ended(tx: Session, run_id: str, now: int) -> None:
    """Return what a run still has that has ended, or is gone, as far as that is so."""
    tx.put(sql.LOCK_GATES)
    if not tx.rows(sql.OF_ENDED, id=run_id):
        give_back(tx, run_id, now)


def settle(book: Book, *, own: str = "", why: str = "slot", told: Sequence[int] = ()) -> None:
    """See to those who are through: a queued run gets its ticket, others are woken after the commit.

    Args:
        book: The gates, closed.
        own: The run that this is about.
        why: Why that one has a ticket now.
        told: Those of its task runs that hear of it anyway.
    """
    tx, now = book.tx, book.now
    runs = [run_id for run_id, seq in book.through if seq == RUN]
    if runs:
        queued: list[str] = [row[0] for row in tx.rows(sql.QUEUED_OF, ids=runs)]
        others = [run_id for run_id in queued if run_id != own]
        if own in queued:
            tickets.put(tx, [own], now, why)
        if others:
            tickets.put(tx, others, now, "slot")
    tx.handed_on.extend(who for who in book.through if who[0] != own or (who[1] != RUN and who[1] not in told))
    for (run_id, seq), gate in book.stopped:
        if seq == RUN:
            _tell(book, run_id, gate)


def _tell(book: Book, run_id: str, gate: str) -> None:
    """Put on record what a run waits for that cannot be claimed yet."""
    holders = [row[0] for row in book.tx.rows(sql.HOLDERS, gate=gate, run_id=run_id, limit=_SHOWN)]
    data = {"reason": "limit", "gate": gate, "held_by": holders, "waiting": book.waiting(gate)}
    append(book.tx, [Event(at=book.now, kind="run.held", run_id=run_id, data=as_json(data))])


# --- limits that are declared by hand, and upkeep


def declare(tx: Session, limit: LimitRow, now: int) -> None:
    """Keep what somebody declares; who waits is let in as far as there is room now."""
    tx.put(sql.PUT_LIMIT, **named(limit))
    _reshape(tx, limit.name, now)


def forget(tx: Session, name: str, now: int) -> bool:
    """Forget what somebody declared: what the code says holds again. Tells whether there was anything."""
    gone = tx.change(sql.REMOVE_LIMIT, name=name)
    _reshape(tx, name, now)
    return bool(gone)


def _reshape(tx: Session, name: str, now: int) -> None:
    with Book(tx, now) as book:
        (rows,) = book.look((sql.GATES_OF_LIMIT, {"name": name}))
        book.know(rows)
        gates = book.known()
        names = sorted({name, *(gate.id for gate in gates), *(gate.limit_name for gate in gates)})
        rows = tx.rows(sql.LIMITS_NAMED, names=names)
        limits = {row.name: row for row in records(LimitRow, rows)}
        book.know((), rows, [Passing(gate=gate.id, limit=gate.limit_name) for gate in gates])
        for gate in gates:
            limit = limits.get(gate.id) or limits.get(gate.limit_name)
            shape(gate, limit)
            _weigh(tx, gate, limit)
            book.admit(gate)
    settle(book)


def _weigh(tx: Session, gate: Gate, limit: LimitRow | None) -> None:
    for share, weight in ({} if limit is None else weights_of(limit)).items():
        tx.put(sql.WEIGH_SHARE, gate=gate.id, name=share, weight=float(weight))


def admit_due(tx: Session, now: int, limit: int) -> int:
    """Let in who waited for a token that is there now; tell how many."""
    with Book(tx, now) as book:
        (rows,) = book.look((sql.GATES_DUE, {"now": now, "limit": limit}))
        book.know(rows)
        for gate in book.known():
            book.admit(gate)
    settle(book)
    return len(book.through)


def tidy(tx: Session, now: int) -> None:
    """Forget gates and shares that nobody uses any more and that remember nothing."""
    tx.put(sql.LOCK_GATES)
    tx.put(sql.REMOVE_SHARES)
    tx.put(sql.REMOVE_GATES, now=now)
