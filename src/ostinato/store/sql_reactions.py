"""Automations and deadlines over SQL: the `Reactions` part of a store.

Whoever changes automations takes the row that counts the changes first, and whoever judges takes it too. So a
judgement that knew less than all automations is refused, and an event is never passed over by a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.records import Event, Run
from ostinato.store import statements_reactions as statements
from ostinato.store.events import append, as_json
from ostinato.store.rows import records
from ostinato.store.transactions import Session, Transactions, named
from ostinato.timing import AutomationRow, Deadline, Firing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.timing import Judgement

_LOOKED_AT: Final = 5
"""How many times as many runs are looked at as successful ones are wanted."""


class SqlReactions(Transactions):
    """See `ostinato.store.timing.Reactions`."""

    def put_automation(self, row: AutomationRow) -> AutomationRow:
        """Add an automation that no project declares, or change it."""

        def work(tx: Session) -> AutomationRow:
            tx.change(statements.CHANGE)
            there = _find(tx, row.name)
            if there is not None and there.project:
                raise UsageError(
                    f"The project {there.project!r} declares the automation {row.name!r}. Change it in its code, or "
                    "give this one another name."
                )
            stored = _begun(tx, msgspec.structs.replace(row, project=""), there)
            tx.change(statements.PUT_AUTOMATION, **named(stored))
            return stored

        stored = self._write(work)
        self._hint()
        return stored

    def remove_automation(self, name: str) -> None:
        """Remove an automation that no project declares."""

        def work(tx: Session) -> None:
            tx.change(statements.CHANGE)
            there = _get(tx, name)
            if there.project:
                raise UsageError(
                    f"The project {there.project!r} declares the automation {name!r}. Take it out of its code and "
                    f"deploy, or pause it: ostinato automations pause {name}"
                )
            tx.change(statements.REMOVE_AUTOMATIONS, names=[name])

        self._write(work)
        self._hint()

    def list_automations(self) -> list[AutomationRow]:
        """List automations by name."""
        return self._read(lambda tx: records(AutomationRow, tx.rows(statements.LIST_AUTOMATIONS)))

    def pause_automation(self, name: str, *, paused: bool, silenced_until: int | None = None) -> AutomationRow:
        """Pause an automation, resume it, or silence it until an instant."""

        def work(tx: Session) -> AutomationRow:
            tx.change(statements.CHANGE)
            there, now = _get(tx, name), tx.now()
            row = msgspec.structs.replace(
                there, paused=paused, silenced_until=silenced_until, turn=there.turn + 1, updated_at=now
            )
            if there.paused and not paused:  # what happened meanwhile is no concern of its
                row = _anew(tx, row)
            tx.change(statements.PUT_AUTOMATION, **named(row))
            return row

        row = self._write(work)
        self._hint()
        return row

    # --- reading and judging

    def reader_at(self, name: str) -> int:
        """Return the number of the last event that a reader has read; the newest where it is a new one."""
        found = self._read(lambda tx: tx.rows(statements.READER, name=name))
        if found:
            return int(found[0][0])

        def work(tx: Session) -> int:
            newest = 0 if name == statements.CHANGED else tx.rows(statements.NEWEST)[0][0]
            tx.change(statements.PUT_READER, name=name, read=newest)
            return int(tx.rows(statements.READER, name=name)[0][0])

        return self._write(work)

    def judge(
        self, reader: str, read: int, upto: int, judgements: Sequence[Judgement], *, known: int | None = None
    ) -> bool:
        """Store what automations have come to and that the reader has read from `read` up to `upto`; all or nothing."""

        def work(tx: Session) -> bool:
            if known is not None and tx.rows(statements.HOLD_READER, name=statements.CHANGED) != [(known,)]:
                return False
            if not tx.change(statements.MOVE_READER, name=reader, read=read, upto=upto):
                return False
            for judgement in judgements:
                _judge(tx, judgement)
            return True

        try:
            return self._write(work, again=False)
        except _PassedError:
            return False

    # --- firings

    def list_firings(
        self,
        automation: str | None = None,
        *,
        due_before: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Firing]:
        """List firings, newest first; or those with something to do by an instant, the longest due first."""
        values: dict[str, Any] = {"automation": automation, "due_before": due_before, "before": before}
        terms = {
            "automation": "automation = :automation",
            "due_before": statements.FIRINGS_DUE,
            "before": statements.FIRINGS_BEFORE,
        }
        given = {name: value for name, value in values.items() if value is not None}
        where = " WHERE " + " AND ".join(terms[name] for name in given) if given else ""
        order = "at DESC, id DESC" if due_before is None else "next_at, id"
        query = f"{statements.FIRINGS}{where} ORDER BY {order} LIMIT :limit"
        return self._read(lambda tx: records(Firing, tx.rows(query, limit=limit, **given)))

    def get_firing(self, firing_id: str) -> Firing:
        """Return a firing."""
        return self._read(lambda tx: _firing(tx, firing_id))

    def put_firing(self, firing: Firing, *, next_at: int | None) -> bool:
        """Replace a firing by what became of it, if its `next_at` is still the one given; tell whether it was."""
        values = {name: getattr(firing, name) for name in ("id", "state", "data", "progress", "next_at")}
        before = -1 if next_at is None else next_at

        def work(tx: Session) -> bool:
            if not tx.change(statements.CHANGE_FIRING, before=before, **values):
                return False
            if firing.state == "failed":
                append(tx, [_told("automation.failed", tx.now(), firing)])
            return True

        return self._write(work, again=False)

    def acknowledge(self, firing_id: str, by: str) -> Firing:
        """Note that somebody looks after it: it is not escalated."""

        def work(tx: Session) -> Firing:
            tx.change(statements.ACKNOWLEDGE, id=firing_id, by=by, now=tx.now())
            return _firing(tx, firing_id)

        return self._write(work)

    # --- deadlines

    def put_deadlines(self, deadlines: Sequence[Deadline]) -> None:
        """Keep by when some runs must have begun or ended."""

        def work(tx: Session) -> None:
            for deadline in deadlines:
                tx.put(statements.PUT_DEADLINE, **named(deadline))

        if deadlines:
            self._write(work)

    def pass_deadlines(self, *, limit: int = 500) -> list[Event]:
        """Tell (``run.late``) which runs have missed a deadline that is due, and forget those deadlines."""

        def work(tx: Session) -> list[Event]:
            now = tx.now()
            rows = tx.rows(statements.DEADLINES_DUE, now=now, limit=limit)
            late = [event for row in rows if (event := _late(row, now)) is not None]
            for run_id, kind, *_ in rows:
                tx.put(statements.REMOVE_DEADLINE, run_id=run_id, kind=kind)
            append(tx, late)
            return late

        return self._write(work)

    # --- what they are judged by

    def get_runs(self, run_ids: Sequence[str]) -> list[Run]:
        """Return those of some runs that there are, in no order."""
        if not run_ids:
            return []
        return self._read(lambda tx: records(Run, tx.rows(statements.GET_RUNS, ids=list(run_ids))))

    def past_durations(self, flow: str, deployment: str | None, *, last: int = 100) -> list[float]:
        """Return the seconds that the last successful runs of a deployment took, or those of a flow without one."""
        where = "deployment = :deployment" if deployment is not None else "flow = :flow AND deployment IS NULL"
        values: dict[str, Any] = {"flow": flow} if deployment is None else {"deployment": deployment}
        values |= {"last": last, "looked_at": _LOOKED_AT * last}
        rows = self._read(lambda tx: tx.rows(statements.PAST_DURATIONS.format(where), **values))
        return [row[0] / SECOND for row in rows]


class _PassedError(Exception):
    """An automation has been changed since it was judged: the transaction is undone."""


def put_declared(tx: Session, project: str, rows: Sequence[AutomationRow]) -> None:
    """Store the automations that a project declares now, and forget those that it does no longer.

    Raises:
        UsageError: If somebody else has one of that name.
    """
    before = {row.name: row for row in records(AutomationRow, tx.rows(statements.LIST_AUTOMATIONS))}
    gone = {name for name, row in before.items() if row.project == project} - {row.name for row in rows}
    if not rows and not gone:
        return
    tx.change(statements.CHANGE)
    if gone:
        tx.change(statements.REMOVE_AUTOMATIONS, names=sorted(gone))
    for row in rows:
        there = before.get(row.name)
        if there is not None and there.project != project:
            owner = f"The project {there.project!r} declares" if there.project else "Somebody has made"
            raise UsageError(f"{owner} an automation {row.name!r} already. Give the one of {project!r} another name.")
        tx.change(statements.PUT_AUTOMATION, **named(_begun(tx, msgspec.structs.replace(row, project=project), there)))


def remove_declared(tx: Session, project: str) -> None:
    """Forget all that a project declares."""
    put_declared(tx, project, [])


def _begun(tx: Session, row: AutomationRow, there: AutomationRow | None) -> AutomationRow:
    """Keep what an automation is and remembers if it is the same as before; else it begins now."""
    if there is None:
        return _anew(tx, msgspec.structs.replace(row, updated_at=tx.now()))
    kept = msgspec.structs.replace(
        there, project=row.project, spec=row.spec, description=row.description, turn=there.turn + 1
    )
    if there.spec == row.spec:
        return kept
    return _anew(tx, msgspec.structs.replace(kept, updated_at=tx.now()))


def _anew(tx: Session, row: AutomationRow) -> AutomationRow:
    newest, now = tx.rows(statements.NEWEST)[0][0], tx.now()
    tx.change(statements.PUT_READER, name=statements.AUTOMATOR, read=newest)  # before anybody reads for the first time
    return msgspec.structs.replace(row, state="{}", next_at=now, after=newest, trouble=None)


def _find(tx: Session, name: str) -> AutomationRow | None:
    found = records(AutomationRow, tx.rows(statements.GET_AUTOMATION, name=name))
    return found[0] if found else None


def _get(tx: Session, name: str) -> AutomationRow:
    found = _find(tx, name)
    if found is None:
        known = [row.name for row in records(AutomationRow, tx.rows(statements.LIST_AUTOMATIONS))]
        raise UnknownNameError(
            f"There is no automation {name!r}.{nearest(name, known)} See `ostinato automations list`."
        )
    return found


def _judge(tx: Session, judgement: Judgement) -> None:
    values = {name: getattr(judgement, name) for name in ("state", "next_at", "trouble", "turn")}
    if not tx.change(statements.JUDGE, name=judgement.automation, **values):
        raise _PassedError
    told = []
    for firing in judgement.firings:
        tx.put(statements.PUT_FIRING, **named(firing))
        if firing.state == "pending":
            told.append(_told("automation.fired", firing.at, firing))
    append(tx, told)


def _told(kind: str, at: int, firing: Firing) -> Event:
    values = msgspec.json.decode(firing.data).get("values", {})
    data = {"automation": firing.automation, "firing": firing.id, "about": firing.key}
    return Event(at=at, kind=kind, run_id="", data=as_json(data | {"summary": values.get("summary")}))


def _firing(tx: Session, firing_id: str) -> Firing:
    found = records(Firing, tx.rows(statements.GET_FIRING, id=firing_id))
    if not found:
        raise UnknownNameError(f"There is no firing {firing_id!r}. See `ostinato automations firings`.")
    return found[0]


def _late(row: Sequence[Any], now: int) -> Event | None:
    run_id, kind, due_at, there, flow, deployment, started_at, finished_at = row
    met_at = finished_at if kind == "end" or started_at is None else started_at
    if there is None or (met_at is not None and met_at <= due_at):
        return None
    by = max(0.0, round(((met_at or now) - due_at) / SECOND, 3))
    data: dict[str, object] = {"kind": kind, "due_at": due_at, "by": by, "flow": flow, "deployment": deployment}
    return Event(at=max(due_at, 0), kind="run.late", run_id=run_id, data=as_json(data))
