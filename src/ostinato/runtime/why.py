"""Why a run, or a task run, is as it is: from tickets, waits, rows and recorded events, never from guesses.

```
queued     its ticket: what the overseer saw       running    who holds it, what runs in it, how often it was lost
scheduled  its wait                                failed     the task run that failed, the first line of its error
waiting    its waits: other runs, timers           crashed    the event of its loss: which process, how it ended
```

`Why` holds a sentence for a person and the facts it is made of for a program.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND, to_datetime, to_rfc3339
from ostinato.engine.clearing import short_name
from ostinato.outcomes import parse_failure
from ostinato.runtime.finding import name_of
from ostinato.runtime.lateness import late_because
from ostinato.runtime.limited import limited_because
from ostinato.runtime.why_queued import Found, queued_because
from ostinato.runtime.why_waiting import awaited
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.records import Event, Run, TaskRun, Worker
    from ostinato.store.store import Store

_NAMED: Final = 5
_PAGE: Final = 1000
_BAD: Final = (State.FAILED, State.CRASHED)


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is in its state."""

    run_id: str
    task: str | None = None
    """The task run that is meant; None for the run itself."""
    state: State
    reason: str | None = None
    since: int | None = None
    """Since when it has been in that state, where that is recorded."""
    because: list[str]
    """Sentences, the most important first."""
    advice: list[str] = []
    """What can be done, the likeliest first; empty where nothing needs to be."""
    facts: dict[str, Any] = {}
    """What the sentences are made of."""


def explain(store: Store, run: Run) -> Why:
    """Say why a run is in its state."""
    said = _Said(store, run)
    _EXPLAIN[run.state](said)
    said.because += late_because(said.events, run)
    if run.deployment is not None:
        code = f", source {run.bundle[:12]}" if run.bundle else ""
        said.add(f"It was started from deployment {run.deployment}{code}.")
    said.facts |= {"deployment": run.deployment, "pool": run.pool, "bundle": run.bundle, "code": run.code}
    return Why(
        run_id=run.id, state=run.state, reason=run.reason, since=said.since, because=said.because, advice=said.advice,
        facts={name: fact for name, fact in said.facts.items() if fact is not None},
    )  # fmt: skip


def explain_task_run(store: Store, run: Run, row: TaskRun) -> Why:
    """Say why a task run of a run is in its state."""
    because, advice, facts = [], [], dict[str, Any]()
    failure = parse_failure(row.error)
    events = [event for event in _events(store, row.run_id) if event.seq == row.seq]
    label = name_of(row) if row.map_index is not None else short_name(row.task)
    if row.reason == "cached":
        found = next((_data(event) for event in reversed(events) if event.kind == "task_run.cached"), {})
        because.append(f"Its result was taken from the cache: {_made_by(found)}.")
        facts["from_run"] = found.get("from_run")
    elif failure is not None:
        because.append(f"{failure.line.rstrip('.')}{_where(failure.places)}.")
        facts["error"] = failure.line
        advice.append(f"Run it again by itself, with the same inputs: ostinato debug {run.id} {name_of(row)}")
    elif row.reason == "lost":
        because.append("Its process was lost while it ran.")
    elif row.state is State.RUNNING:
        because.append(f"It runs, attempt {row.attempt}.")
    else:
        because.append(
            _TASK_STATES.get(row.reason or "", f"It is {row.state}" + (f", {row.reason}." if row.reason else "."))
        )
    if row.failures and row.state in {State.RETRYING, State.RUNNING}:
        because.append(f"It has failed {_times(row.failures)} before.")
    if row.child_run_id is not None:
        because.append(f"It stands for child run {row.child_run_id}.")
        advice.append(f"ostinato runs why {row.child_run_id}")
    since = row.finished_at or row.started_at or row.created_at
    facts |= {"seq": row.seq, "attempt": row.attempt, "child_run_id": row.child_run_id}
    return Why(
        run_id=run.id, task=label, state=row.state, reason=row.reason, since=since, because=because, advice=advice,
        facts={name: fact for name, fact in facts.items() if fact is not None},
    )  # fmt: skip


_TASK_STATES: Final = {
    "upstream_failed": "Something that it depends on failed.",
    "limit": "It waits for a slot of a limit.",
    "sleep": "It sleeps.",
    "event": "It waits for an event.",
    "question": "It waits for people to answer.",
    "timed_out": "It ran longer than its timeout.",
    "retried": "It is to run again, since the run is retried.",
    "cleared": "It was chosen to run again.",
    "stale": "It runs again if what it depends on has changed.",
    "marked": "Somebody marked it by hand.",
}


class _Said:
    """What is found out, piece by piece."""

    def __init__(self, store: Store, run: Run) -> None:
        self.store, self.run = store, run
        self.since: int | None = None
        self.because: list[str] = []
        self.advice: list[str] = []
        self.facts: dict[str, Any] = {}
        self.events = [event for event in _events(store, run.id) if event.kind.startswith(("run.", "audit."))]

    def add(self, sentence: str) -> None:
        self.because.append(sentence)

    def take(self, found: Found) -> None:
        self.because += found.because
        self.advice += found.advice
        self.facts |= found.facts

    def last(self, *kinds: str) -> Event | None:
        return next((event for event in reversed(self.events) if event.kind in kinds), None)


# --- one function a state


def _queued(said: _Said) -> None:
    run, ticket = said.run, said.store.find_ticket(said.run.id)
    said.since = run.created_at if ticket is None else ticket.created_at
    if run.pool is None:
        said.add("No pool is named, so no worker takes it: only the process that made it could.")
        said.advice.append(f"Go on with it here: ostinato runs resume {run.id}")
    elif ticket is not None:
        said.take(queued_because(said.store, run, ticket))
    elif (held := limited_because(said.store, run)) is not None:
        said.take(held)
    else:
        said.add("It is being claimed at this moment.")
    _tell_recoveries(said)


def _scheduled(said: _Said) -> None:
    waits = [wait for wait in said.store.list_waits(said.run.id) if wait.kind == "start"]
    due = waits[0].due_at if waits else said.run.scheduled_at
    said.since, said.facts["due_at"] = said.run.created_at, to_rfc3339(due)
    said.add(f"It is to start {_at(due, said.store.now())}." if due is not None else "It has no time to start at.")
    said.advice.append(f"Do not start it: ostinato runs cancel {said.run.id}")


def _waiting(said: _Said) -> None:
    waits, now = said.store.list_waits(said.run.id), said.store.now()
    said.since = min((wait.created_at for wait in waits), default=None)
    others = [wait.key for wait in waits if wait.kind == "run" and wait.key is not None]
    timers = [wait.due_at for wait in waits if wait.kind == "timer" and wait.due_at is not None]
    for other in others[:_NAMED]:
        found = said.store.get_run(other)
        said.add(f"It waits for run {other} of {found.flow}, which is {found.state}.")
        said.advice.append(f"ostinato runs why {other}")
    if len(others) > _NAMED:
        said.add(f"It waits for {len(others) - _NAMED} other runs too.")
    found_events = awaited(said.store, waits)
    said.because += found_events.because
    said.advice += found_events.advice
    said.facts |= found_events.facts
    if timers:
        said.add(f"It goes on {_at(min(timers), now)}.")
    if not waits:
        said.add("It waits inside its process.")
        _tell_holder(said)
    said.facts |= {"runs": others, "due_at": to_rfc3339(min(timers)) if timers else None}


def _retrying(said: _Said) -> None:
    told = said.last("run.retrying")
    if told is not None:
        said.since = told.at
        said.add(f"Attempt {said.run.attempt} failed: {_data(told).get('error')}.")
    _waiting(said)


def _running(said: _Said) -> None:
    claimed = said.last("run.claimed", "run.started")
    said.since = said.run.started_at if claimed is None else claimed.at
    _tell_holder(said)
    rows = said.store.list_task_runs(said.run.id, states=[State.RUNNING], limit=_NAMED + 1)
    names = [_label(row) for row in rows if row.kind != "value"]
    if names:
        more = ", …" if len(names) > _NAMED else ""
        said.add(f"Running in it now: {', '.join(names[:_NAMED])}{more}.")
    else:
        said.add("None of its task runs runs at this moment: its body does.")
    said.facts["running"] = names[:_NAMED]
    if said.run.cancel_requested_at is not None:
        said.add("Somebody asked to cancel it; it is being stopped.")
    _tell_recoveries(said)


def _failed(said: _Said) -> None:
    run = said.run
    said.since = run.finished_at
    failure, rows = parse_failure(run.error), said.store.list_task_runs(run.id, states=_BAD, limit=_NAMED + 1)
    told = [(row, found) for row in rows[:_NAMED] if (found := parse_failure(row.error)) and not row.orphaned]
    if failure is not None and failure.line not in {found.line for _, found in told}:
        said.add(f"{'Its body raised ' if told else ''}{failure.line.rstrip('.')}{_where(failure.places)}.")
    for row, found in told:
        said.add(f"{_label(row)} failed: {found.line.rstrip('.')}{_where(found.places)}.")
    if not said.because:
        said.add(_REASONS.get(run.reason or "", "It failed."))
    if len(rows) > _NAMED:
        said.add("More task runs failed: `ostinato runs show` lists them.")
    said.facts |= {"error": failure.line if failure else None, "failed": [_label(row) for row in rows[:_NAMED]]}
    said.advice.append(f"Try what has not succeeded again: ostinato runs retry {run.id}")
    if run.reason == "out_of_memory":
        said.advice.append(
            'Let it have more: Resources(memory="2GiB"), or twice as much each time: Retry(on=OutOfMemory, memory=2.0)'
        )


def _crashed(said: _Said) -> None:
    run = said.run
    said.since = run.finished_at
    if run.reason == "poisonous":
        said.add(f"Its process was lost {_times(run.recoveries + 1)} in a row without progress, so it was given up.")
    _tell_loss(said)
    if not said.because:
        said.add(_REASONS.get(run.reason or "", "Its process ended before it did."))
    said.advice.append(f"Go on from its last finished task: ostinato runs resume {run.id}")
    said.advice.append(f"What it wrote last: ostinato runs logs {run.id}")


def _cancelled(said: _Said) -> None:
    run = said.run
    said.since = run.finished_at
    if run.reason == "interrupted":
        said.add("Somebody pressed Ctrl-C.")
    elif run.reason == "overlap":
        said.add("Another run of it was under way when it was to begin, and its overlap cancels the new one then.")
    elif run.cancel_requested_at is not None or run.started_at is None:
        said.add("Somebody asked to cancel it" + (" before it had started." if run.started_at is None else "."))
    else:
        said.add(f"It was cancelled{': ' + run.reason if run.reason else ''}.")
    told = next((event for event in reversed(said.events) if "cancel" in event.kind and "actor" in event.data), None)
    if told is not None:
        said.facts["actor"] = _data(told)["actor"]
        said.add(f"Who asked: {said.facts['actor']}.")
    ending = said.last("run.cancelled")
    if ending is not None and _data(ending).get("message"):
        said.add(f"How its process ended: {_data(ending)['message']}.")
    said.advice.append(f"Try it again: ostinato runs retry {run.id}")


def _ended(said: _Said) -> None:
    run = said.run
    said.since = run.finished_at
    said.add(
        f"It {'was skipped' if run.state is State.SKIPPED else 'succeeded'}{', ' + run.reason if run.reason else ''}."
    )
    if run.reason == "overlap":
        said.add("Another run of it was under way when it was to begin.")
    cached = [event for event in _events(said.store, run.id) if event.kind == "task_run.cached"]
    if cached:
        runs = sorted({str(_data(event).get("from_run")) for event in cached})
        said.add(f"{len(cached)} of its results came from the cache, made by run {', '.join(runs[:_NAMED])}.")
        said.facts["cached_from"] = runs
    _tell_recoveries(said)


_EXPLAIN: Final = {
    State.QUEUED: _queued,
    State.SCHEDULED: _scheduled,
    State.WAITING: _waiting,
    State.RETRYING: _retrying,
    State.RUNNING: _running,
    State.FAILED: _failed,
    State.CRASHED: _crashed,
    State.CANCELLED: _cancelled,
    State.SKIPPED: _ended,
    State.SUCCEEDED: _ended,
}

_REASONS: Final = {
    "timed_out": "It ran longer than its timeout.",
    "out_of_memory": "Its process took more memory than it may.",
    "unloadable": "Its flow could not be loaded.",
    "lost": "The process that ran it was lost.",
}


# --- what several of them tell


def _tell_holder(said: _Said) -> None:
    worker = next((found for found in said.store.list_workers() if found.id == said.run.worker_id), None)
    if worker is None:
        said.add("No process that is registered holds it; it is taken over within seconds.")
        return
    attempt = f", attempt {said.run.attempt}" if said.run.attempt > 1 else ""
    said.add(f"{_who(worker)} carries it out{attempt}.")
    said.facts["worker"] = {"id": worker.id, "kind": worker.kind, "host": worker.host, "pid": worker.pid}


def _who(worker: Worker) -> str:
    kind = f"Worker {worker.id}" if worker.pools else f"A {worker.kind}"
    return f"{kind}, process {worker.pid} on {worker.host.partition('/')[0]},"


def _tell_recoveries(said: _Said) -> None:
    """Say how often its process was lost, and how the last one was."""
    lost = [event for event in said.events if event.kind in _LOSSES]
    if not lost:
        return
    said.facts["losses"] = len(lost)
    often = f"Its process was lost {_times(len(lost))}"
    in_a_row = f", {said.run.recoveries} in a row without progress" if said.run.recoveries > 1 else ""
    said.add(f"{often}{in_a_row}, last {_at(lost[-1].at, said.store.now())}.")
    _tell_loss(said)


_LOSSES: Final = ("run.crashed", "run.recovering")


def _tell_loss(said: _Said) -> None:
    """Say how the last process that was lost ended, as far as somebody saw it."""
    told = said.last(*_LOSSES)
    if told is None:
        return
    data = _data(told)
    said.facts["loss"] = data
    if data.get("message"):
        said.add(f"How it ended: {data['message']}.")
    elif data.get("pid"):
        where = str(data.get("host", "")).partition("/")[0]
        said.add(f"Process {data['pid']} on {where} ({data.get('kind')}) was gone, or not heard of for too long.")


def _events(store: Store, run_id: str) -> Iterator[Event]:
    after = 0
    while found := store.list_events(run_id, after=after, limit=_PAGE):
        after = found[-1].id
        yield from (stored.event for stored in found)
        if len(found) < _PAGE:
            return


def _data(event: Event) -> dict[str, Any]:
    found = json.loads(event.data)
    return found if isinstance(found, dict) else {}


def _made_by(cached: dict[str, Any]) -> str:
    return f"made by run {cached['from_run']}" if cached.get("from_run") else "an earlier call's"


def _label(row: TaskRun) -> str:
    return name_of(row) if row.map_index is not None else short_name(row.task)


def _where(places: Sequence[Any]) -> str:
    own = [place for place in places if place.user]
    return f" ({own[-1].file}:{own[-1].line})" if own else ""


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _at(instant: int, now: int) -> str:
    """Write an instant and how far it is from now."""
    apart = abs(instant - now) / SECOND
    far = f"{apart:.0f} s" if apart < 120 else f"{apart / 60:.0f} min" if apart < 7200 else f"{apart / 3600:.0f} h"  # noqa: PLR2004
    clock = f"{to_datetime(instant).astimezone():%Y-%m-%d %H:%M:%S}"
    return f"in {far}, at {clock}" if instant > now else f"{far} ago, at {clock}"
