"""Schedules, sensors, consumers of events and their ticks over SQL: the `Schedules` part of a store."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.store import deciding, statements, statements_timing
from ostinato.store.rows import records
from ostinato.store.transactions import Session, Transactions
from ostinato.timing import Schedule, Tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.timing import Decision, ScheduleFilter
    from ostinato.work import Deployed


class SqlSchedules(Transactions):
    """See `ostinato.store.timing.Schedules`."""

    def put_schedule(self, schedule: Schedule) -> Schedule:
        """Add a schedule that no project declares, or change it."""

        def work(tx: Session) -> Schedule:
            tx.rows(statements.CHANGE_CATALOG)
            _check_deployment(tx, schedule.deployment)
            found = records(Schedule, tx.rows(statements_timing.LOCK_SCHEDULE, name=schedule.name))
            before = found[0] if found else None
            if before is not None and before.project:
                raise UsageError(
                    f"The project {before.project!r} declares the schedule {schedule.name!r}: change it there, or "
                    "give this one another name."
                )
            stored = _carried(tx, msgspec.structs.replace(schedule, project=""), before, tx.now())
            _replace(tx, [stored])
            return stored

        stored = self._write(work)
        self._hint()
        return stored

    def remove_schedule(self, name: str) -> None:
        """Remove a schedule that no project declares. Its ticks stay until retention takes them."""

        def work(tx: Session) -> None:
            tx.rows(statements.CHANGE_CATALOG)
            if (found := _locked(tx, name)).project:
                raise UsageError(
                    f"The project {found.project!r} declares the schedule {name!r}: remove it there and deploy, or "
                    f"pause it: ostinato schedules pause {name}"
                )
            tx.change(statements_timing.REMOVE_SCHEDULES, names=[name])

        self._write(work)

    def list_schedules(self, which: ScheduleFilter) -> list[Schedule]:
        """List schedules by name, or those that are due, the longest due first."""
        query, values = _listing(which)
        return self._read(lambda tx: records(Schedule, tx.rows(query, **values)))

    def get_schedule(self, name: str) -> Schedule:
        """Return a schedule; the error names the nearest one."""
        return self._read(lambda tx: _get(tx, name, f"{statements_timing.LIST_SCHEDULES} WHERE name = :name"))

    def pause_schedule(self, name: str, *, paused: bool) -> Schedule:
        """Pause a schedule or resume it: it goes on from now."""

        def work(tx: Session) -> Schedule:
            tx.put(statements.SHARE_CATALOG)
            row = _locked(tx, name)
            if row.paused == paused:
                return row
            # a clock that was set back does not make it decide anew what it has decided
            begins = {} if paused else {"since": max(row.since, now := tx.now()), "next_at": now}
            changed = msgspec.structs.replace(row, paused=paused, turn=row.turn + 1, **begins)
            tx.change(
                statements_timing.PAUSE_SCHEDULE,
                name=name,
                paused=paused,
                since=changed.since,
                next_at=changed.next_at,
            )
            return changed

        changed = self._write(work)
        self._hint()
        return changed

    def rewind_schedule(self, name: str, *, since: int | None = None, read: int | None = None) -> Schedule:
        """Have a schedule decide again from an instant, a consumer from an event; what is started then is new."""

        def work(tx: Session) -> Schedule:
            tx.put(statements.SHARE_CATALOG)
            row, now = _locked(tx, name), tx.now()
            state = msgspec.json.decode(row.state)
            state["generation"] = int(state.get("generation", 0)) + 1
            if since is not None:
                state["until"] = now
            changed = msgspec.structs.replace(
                row,
                since=row.since if since is None else since,
                read=row.read if read is None else read,
                state=msgspec.json.encode(state).decode(),
                next_at=now,
                turn=row.turn + 1,
            )
            fields = {each: getattr(changed, each) for each in ("since", "read", "state", "next_at")}
            tx.change(statements_timing.REWIND_SCHEDULE, name=name, **fields)
            return changed

        changed = self._write(work, again=False)
        self._hint()
        return changed

    def decide(self, decisions: Sequence[Decision]) -> list[str]:
        """Store what some schedules have come to: their ticks, the runs of these, how far they are."""
        if not decisions:
            return []
        changed = self._write(lambda tx: deciding.decide(tx, decisions))
        if any(each.runs for each in decisions):
            self._hint()
        return changed

    def list_ticks(self, schedule: str | None = None, *, before: int | None = None, limit: int = 50) -> list[Tick]:
        """List ticks, the newest decision first, those decided before an instant."""
        terms = {"schedule = :schedule": schedule, "at < :before": before}
        given = [term for term, value in terms.items() if value is not None]
        where = " WHERE " + " AND ".join(given) if given else ""
        query = f"{statements_timing.LIST_TICKS}{where} ORDER BY at DESC, key DESC LIMIT :limit"
        values = {name: value for name, value in (("schedule", schedule), ("before", before)) if value is not None}
        return self._read(lambda tx: records(Tick, tx.rows(query, limit=limit, **values)))

    def usual_duration(self, deployment: str, *, last: int = 50) -> float | None:
        """Return the median of seconds that a deployment's last successful runs took; None where there are none."""
        rows = self._read(lambda tx: tx.rows(statements_timing.DURATIONS, deployment=deployment, last=last))
        return statistics.median(row[0] for row in rows) / SECOND if rows else None


def put_declared(tx: Session, project: str, deployed: Sequence[Deployed], declared: Sequence[Schedule]) -> None:
    """Store the schedules that a project declares now, and forget those that it declares no more.

    Those of a deployment whose module cannot be imported any more stay as they were, as the deployment itself does.
    The transaction has the catalog for itself.
    """
    now, names = tx.now(), [each.name for each in declared]
    found = records(Schedule, tx.rows(statements_timing.LOCK_SCHEDULES_OF, project=project, names=names))
    before = {each.name: each for each in found}
    tx.put(statements_timing.TURN_OVER, deployments=[each.name for each in deployed])
    for each in declared:
        _refuse_if_taken(each, before.get(each.name), project)
    broken = {each.name for each in deployed if each.broken}
    kept = {*names, *(each.name for each in found if each.project == project and each.deployment in broken)}
    if gone := [name for name in before if name not in kept]:
        tx.change(statements_timing.REMOVE_SCHEDULES, names=gone)
    _replace(
        tx,
        [_carried(tx, msgspec.structs.replace(each, project=project), before.get(each.name), now) for each in declared],
    )


def remove_declared(tx: Session, project: str) -> None:
    """Forget the schedules that a project declares."""
    put_declared(tx, project, (), ())


def _refuse_if_taken(wanted: Schedule, there: Schedule | None, project: str) -> None:
    if there is None or there.project == project:
        return
    if there.project:
        raise UsageError(f"The project {there.project!r} declares a schedule {wanted.name!r} already.")
    raise UsageError(
        f"A schedule {wanted.name!r} was added by hand, so the project cannot declare one. Give it another name, or "
        f"remove that one: ostinato schedules remove {wanted.name}"
    )


def _carried(tx: Session, wanted: Schedule, before: Schedule | None, now: int) -> Schedule:
    """Return a schedule as it is to be stored: with what the one of before remembers, or begun anew from now on.

    What it has read, a sensor's cursor and the number of replays are kept in any case, for what was done once is not
    to be done again because somebody changed an option.
    """
    begun = {"since": now, "next_at": now, "trouble": None, "updated_at": now}
    if before is None:
        newest = tx.rows(statements_timing.NEWEST_NUMBER)[0][0]
        return msgspec.structs.replace(wanted, read=newest, state="{}", turn=0, **begun)
    kept = ("paused", "read", "cursor", "state", "since", "next_at", "trouble", "updated_at")
    values = {name: getattr(before, name) for name in kept}
    if (wanted.spec, wanted.parameters, wanted.kind) != (before.spec, before.parameters, before.kind):
        generation = msgspec.json.decode(before.state).get("generation")
        state = {} if generation is None else {"generation": generation}
        values |= begun | {"state": msgspec.json.encode(state).decode()}
    return msgspec.structs.replace(wanted, turn=before.turn + 1, **values)


def _replace(tx: Session, schedules: Sequence[Schedule]) -> None:
    if schedules:
        tx.change(statements_timing.REMOVE_SCHEDULES, names=[each.name for each in schedules])
        tx.add("schedule", schedules)


def _check_deployment(tx: Session, name: str) -> None:
    known = [row[0] for row in tx.rows("SELECT name FROM deployed ORDER BY name")]
    if name not in known:
        raise UnknownNameError(
            f"There is no deployment {name!r}.{nearest(name, known)} See `ostinato deployments list`."
        )


def _locked(tx: Session, name: str) -> Schedule:
    return _get(tx, name, statements_timing.LOCK_SCHEDULE)


def _get(tx: Session, name: str, statement: str) -> Schedule:
    found = records(Schedule, tx.rows(statement, name=name))
    if not found:
        known = [row[0] for row in tx.rows(statements_timing.SCHEDULE_NAMES)]
        raise UnknownNameError(f"There is no schedule {name!r}.{nearest(name, known)} See `ostinato schedules list`.")
    return found[0]


def _listing(which: ScheduleFilter) -> tuple[str, dict[str, Any]]:
    """Compose the query of a listing; only what is asked for stands in it."""
    terms: list[str] = []
    values: dict[str, Any] = {"limit": which.limit}
    for name in ("deployment", "project"):
        if (value := getattr(which, name)) is not None:
            terms.append(f"{name} = :{name}")
            values[name] = value
    if which.kinds:
        terms.append("kind = ANY(:kinds)")
        values["kinds"] = list(which.kinds)
    if which.after:
        terms.append("name > :after")
        values["after"] = which.after
    order = "name"
    if which.due_before is not None:
        terms.append("next_at IS NOT NULL AND NOT paused AND next_at <= :due")
        values["due"] = which.due_before
        order = "next_at, name"
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    return f"{statements_timing.LIST_SCHEDULES}{where} ORDER BY {order} LIMIT :limit", values
