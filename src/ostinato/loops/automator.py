"""Reads all events for the automations, and writes down what they come to: one server at a time.

```
served.stored, survey, alarm ─► events beyond the last one read ─► engine.judging ─► judge: memories, firings, reader
                                                                                        └─► the notifier
```

What automations remember is kept here, and stored with how far the reader has come, in one transaction that is
refused if anybody else has judged, or has changed automations. Then all is read anew, and the same events again: so
none is passed over and none counts twice. While there is no automation nothing is read.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.automations.automation import from_spec
from ostinato.clock import SECOND
from ostinato.engine.judging import alarm_of, index_of, judge, moment_of
from ostinato.engine.seen import see
from ostinato.engine.triggering import Moment, wants_past
from ostinato.errors import DefinitionError
from ostinato.loops.loop import Loop
from ostinato.runtime.firing import firing_of
from ostinato.store.statements_reactions import AUTOMATOR, CHANGED
from ostinato.timing import Judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ostinato.automations.automation import Automation
    from ostinato.engine.judging import Verdict
    from ostinato.engine.seen import Seen
    from ostinato.engine.triggering import Memory
    from ostinato.loops.loop import Host
    from ostinato.records import Run, StoredEvent
    from ostinato.store.store import Store
    from ostinato.timing import AutomationRow, Firing
    from ostinato.work import Survey

_PAGE: Final = 500
_LEAST: Final = 0.01
"""Seconds between two looks: a hundred events in a moment cost one."""
_LEAD: Final = 10.0
_MOVE_AFTER: Final = 5000
_MOVE_EVERY: Final = 15.0
"""After so many events, or seconds, it is stored how far it has read though nothing came of that."""
_FRESH: Final = 60.0
"""Seconds for which owners and past durations are remembered."""
_NEVER: Final = float("inf")
_log = logging.getLogger("ostinato.internal")


class Watched:
    """One automation that is active, and what it remembers."""

    def __init__(self, row: AutomationRow, automation: Automation) -> None:
        self.row, self.automation = row, automation
        self.memory: Memory = msgspec.json.decode(row.state)
        self.alarm = row.next_at
        self.trouble = row.trouble
        self.verdicts: list[Verdict] = []
        self.is_touched = False

    def show(self, moment: Moment) -> None:
        """Show it an event or the time."""
        self.is_touched = True
        try:
            self.verdicts += judge(self.automation, self.memory, moment, self.row.silenced_until)
            self.alarm, self.trouble = alarm_of(self.automation, self.memory), None
        except Exception as error:  # a defect in judging one must not hold up the others
            _log.exception("The automation %r could not be judged.", self.row.name)
            self.alarm, self.trouble = None, f"{type(error).__name__}: {error}"

    def judgement(self, now: int) -> tuple[Judgement, list[Firing]] | None:
        """Say what is to be stored; None where nothing has changed."""
        state = msgspec.json.encode(self.memory).decode()
        row = self.row
        if not self.verdicts and (state, self.alarm, self.trouble) == (row.state, row.next_at, row.trouble):
            self.is_touched = False
            return None
        firings = [firing_of(row, verdict, now) for verdict in self.verdicts]
        made = Judgement(
            automation=row.name,
            turn=row.turn,
            state=state,
            next_at=self.alarm,
            trouble=self.trouble,
            firings=firings,
        )
        return made, firings

    def stored(self, judgement: Judgement) -> None:
        """Note that a judgement was stored."""
        self.verdicts, self.is_touched = [], False
        self.row = msgspec.structs.replace(
            self.row,
            state=judgement.state,
            next_at=judgement.next_at,
            trouble=judgement.trouble,
            turn=self.row.turn + 1,
        )


class Panel:
    """All automations as they were when they were read, and how far the reader has come."""

    def __init__(self, store: Store) -> None:
        self.known = store.reader_at(CHANGED)  # first: what is changed after this is noticed
        rows = [row for row in store.list_automations() if not row.paused]
        self.read = store.reader_at(AUTOMATOR)
        self.broken: list[Judgement] = []
        self.watched = {row.name: watched for row in rows if (watched := self._watch(row)) is not None}
        self.at = max(self.read, min((row.after for row in rows), default=0))
        """The last event that was shown; those up to `read` are stored as such."""
        automations = {name: watched.automation for name, watched in self.watched.items()}
        self._by_kind, self._by_start = index_of(automations)
        self.wants_owners = any(automation.owner for automation in automations.values())
        self.wants_past = any(wants_past(automation.when) for automation in automations.values())

    def _watch(self, row: AutomationRow) -> Watched | None:
        try:
            return Watched(row, from_spec(row.spec, name=row.name))
        except DefinitionError as error:  # a newer version has made it
            if row.trouble != str(error):
                self.broken.append(Judgement(automation=row.name, turn=row.turn, state=row.state, trouble=str(error)))
            return None

    def names_for(self, kind: str) -> list[str]:
        """Name the automations that an event of a kind may concern."""
        names = self._by_kind.get(kind, [])
        if self._by_start:
            names = [*names, *(name for start, name in self._by_start if kind.startswith(start))]
        return names

    def next_alarm(self) -> int | None:
        """Say when one of them must be shown the time."""
        return min((each.alarm for each in self.watched.values() if each.alarm is not None), default=None)


class Automator:
    """Shows events and the time to the automations.

    Args:
        host: The server.
        fired: Called when there is something to do for the notifier.
    """

    def __init__(self, host: Host, *, fired: Callable[[], None] = lambda: None) -> None:
        self._host, self._fired = host, fired
        self._panel: Panel | None = None
        self._changes = 0
        """How often automations have been changed, as the last survey saw it."""
        self._leads_until = 0.0
        self._moved = 0.0
        self._facts = _Facts(host.store)
        self.loop = Loop("automator", self.look, every=_NEVER, first=_NEVER, least=_LEAST)
        host.on_stored(self.stored)

    def heard(self, survey: Survey) -> None:
        """Look when automations were changed, events were stored, or something is due, as a survey saw it."""
        self._changes = survey.automations
        panel = self._panel
        if panel is None:
            is_behind = survey.automations > 0
        else:
            is_due = survey.next_alarm_at is not None and survey.next_alarm_at <= survey.now
            is_behind = panel.known != survey.automations or (
                bool(panel.watched) and (survey.newest_event > panel.at or is_due)
            )
        if is_behind:
            self.loop.wake()

    def stored(self) -> None:
        """Look, since events may have been stored; from any thread."""
        if self._panel is not None and self._panel.watched:
            self.loop.wake()

    async def look(self) -> float:
        """Show what has happened since, if this server leads; say in how many seconds time itself must be shown."""
        if self._panel is None and not self._changes:
            return _NEVER
        if not await self._host.call(self._lead):
            return _LEAD
        return await self._host.call(self._look)

    def _lead(self) -> bool:
        now = time.monotonic()
        if now < self._leads_until - _LEAD / 2:
            return True
        had_lapsed = now >= self._leads_until
        if not self._host.store.lead(AUTOMATOR, self._host.name, _LEAD):
            return False
        self._leads_until = now + _LEAD
        if had_lapsed and self._panel is not None and self._host.store.reader_at(AUTOMATOR) != self._panel.read:
            self._panel = None  # another server has led meanwhile
        return True

    def _look(self) -> float:
        store = self._host.store
        if self._panel is None or self._panel.known != self._changes:
            self._panel = Panel(store)
            self._changes = self._panel.known
        panel = self._panel
        if not panel.watched and not panel.broken:
            return _NEVER
        events = store.list_events(None, after=panel.at, limit=_PAGE) if panel.watched else []
        is_level = len(events) < _PAGE
        now = store.now()
        self._show(panel, events)
        self._pass(panel, now if is_level else events[-1].event.at)
        if not self._store(panel, now):
            self._panel = None
            return 0.0
        if not is_level:
            return 0.0
        alarm = panel.next_alarm()
        return _NEVER if alarm is None else max(0.0, (alarm - now) / SECOND)

    def _show(self, panel: Panel, events: Sequence[StoredEvent]) -> None:
        wanted = [stored for stored in events if panel.names_for(stored.event.kind)]
        for seen in self._facts.look_up(wanted, owners=panel.wants_owners, past=panel.wants_past):
            for name in panel.names_for(seen.kind):
                watched = panel.watched[name]
                moment = moment_of(watched.automation, name, seen) if seen.number > watched.row.after else None
                if moment is not None:
                    watched.show(moment)
        if events:
            panel.at = events[-1].id

    def _pass(self, panel: Panel, at: int) -> None:
        """Show the time to those who have asked for it."""
        for watched in panel.watched.values():
            if watched.alarm is not None and watched.alarm <= at:
                watched.show(Moment(at))

    def _store(self, panel: Panel, now: int) -> bool:
        """Store what has come of it; False where somebody else was quicker."""
        touched = [watched for watched in panel.watched.values() if watched.is_touched]
        made = [(watched, *found) for watched in touched if (found := watched.judgement(now)) is not None]
        judgements = [*panel.broken, *(judgement for _, judgement, _ in made)]
        is_far = panel.at - panel.read > _MOVE_AFTER or time.monotonic() - self._moved > _MOVE_EVERY
        if not judgements and (panel.at == panel.read or not is_far):
            return True
        if not self._host.store.judge(AUTOMATOR, panel.read, panel.at, judgements, known=panel.known):
            return False
        panel.read, panel.broken, self._moved = panel.at, [], time.monotonic()
        for watched, judgement, _ in made:
            watched.stored(judgement)
        if any(firings for _, _, firings in made):
            self._fired()
            self._host.changed()
        return True


class _Facts:
    """Looks up what automations want to know of the runs that events are about."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owners: dict[str, tuple[str, ...]] = {}
        self._owners_at = -_NEVER
        self._past: dict[tuple[str, str | None], tuple[float, tuple[float, ...]]] = {}

    def look_up(self, events: Sequence[StoredEvent], *, owners: bool, past: bool) -> Iterable[Seen]:
        ids = {stored.event.run_id for stored in events if stored.event.run_id}
        runs = {run.id: run for run in self._store.get_runs(sorted(ids))} if ids else {}
        if owners and runs:
            self._read_owners({run.deployment for run in runs.values() if run.deployment})
        for stored in events:
            run = runs.get(stored.event.run_id)
            more: dict[str, Any] = {}
            if run is not None and owners:
                more["owners"] = self._owners.get(run.deployment or "", ())
            if run is not None and past and stored.event.kind == "run.started":
                more["past"] = self._past_of(run)
            yield see(stored, run, **more)

    def _read_owners(self, deployments: set[str]) -> None:
        now = time.monotonic()
        if now - self._owners_at < _FRESH and deployments <= set(self._owners):
            return
        found = {each.name: msgspec.json.decode(each.options) for each in self._store.list_deployed()}
        self._owners = dict.fromkeys(deployments, ()) | {
            name: tuple(options.get("owners") or ()) for name, options in found.items()
        }
        self._owners_at = now

    def _past_of(self, run: Run) -> tuple[float, ...]:
        key, now = (run.flow, run.deployment), time.monotonic()
        at, found = self._past.get(key, (-_NEVER, ()))
        if now - at >= _FRESH:
            found = tuple(self._store.past_durations(run.flow, run.deployment))
            self._past[key] = (now, found)
        return found
