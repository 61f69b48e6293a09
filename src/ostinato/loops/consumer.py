"""Starts runs for events: what `On` and conditions with an event in them declare.

```
something was stored ─hint─► events after those that were read ─► each consumer's backlog ─► consume ─► store.decide
```

All consumers that keep up share one reading of the events; one that lags, having been paused or rewound, catches up by
itself, page after page. Which consumers there are is asked only when the survey says that one wants a look, when a
decision was refused because somebody has changed one, and once a minute; without any, a hint costs nothing.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.errors import OstinatoError, StoreError
from ostinato.loops.loop import Loop
from ostinato.runtime.consuming import Backlog, FlowsOfRuns, consume
from ostinato.runtime.lateness import deadlines_of_all
from ostinato.runtime.ticking import Desk
from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from ostinato.loops.loop import Host
    from ostinato.timing import Decision, Schedule
    from ostinato.work import Survey

_log = logging.getLogger("ostinato.internal")
_KINDS: Final = ["event", "condition"]
_PAGE: Final = 1000
_PAGES: Final = 20
"""Pages of events that one round reads, over all consumers."""
_LIST_EVERY: Final = 60.0
_AGAIN: Final = 60 * SECOND
"""After so long one is tried again that failed."""
_LEAST: Final = 0.03
_NEVER: Final = float("inf")


class Consumer:
    """Reads events on behalf of all consumers of a store."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._backlogs: dict[str, Backlog] = {}
        self._flows_of = FlowsOfRuns(host.store.get_run)
        self._is_stale = True
        """Who there is must be asked."""
        self._listed_at = 0.0
        self._unreadable: dict[str, str] = {}
        self.loop = Loop("consumer", self.consume, every=_NEVER, first=_NEVER, least=_LEAST)

    def heard(self, survey: Survey) -> None:
        """Look who there is if a schedule is due: a consumer is when it is new, resumed or rewound."""
        is_due = survey.next_look_at is not None and survey.next_look_at <= survey.now
        if is_due or time.monotonic() - self._listed_at > _LIST_EVERY:
            self._is_stale = True
            self.loop.wake()

    def hint(self) -> None:
        """Look whether events have come, if anybody wants some. From any thread."""
        if self._backlogs:
            self.loop.wake()

    async def consume(self) -> float:
        """Read and decide once; say in how many seconds there is more to do by itself."""
        if not self._is_stale and not self._backlogs:
            return _NEVER
        has_runs, pause = await self._host.call(self._consume)
        if has_runs:
            self._host.changed()
        return pause

    def _consume(self) -> tuple[bool, float]:
        store = self._host.store
        if self._is_stale:
            self._list()
        is_behind = self._read()
        now, desk = store.now(), Desk(store, self._host.results)
        decisions: dict[str, Decision] = {}
        for name, backlog in self._backlogs.items():
            decision = self._decide(backlog, now, desk, at_head=name not in is_behind)
            if decision is not None:
                decisions[name] = decision
        has_runs = self._store(decisions)
        if decisions or self._is_stale or any(not self._backlogs[name].is_full for name in is_behind):
            return has_runs, 0.0
        due = min((each.due_at for each in self._backlogs.values() if each.due_at is not None), default=None)
        return has_runs, _NEVER if due is None else max(0.0, (due - now) / SECOND)

    def _decide(self, backlog: Backlog, now: int, desk: Desk, *, at_head: bool) -> Decision | None:
        """Decide about one; one that fails is no reason to keep the others waiting."""
        try:
            return consume(backlog, now, desk, at_head=at_head)
        except StoreError:
            raise
        except Exception:  # whatever is wrong with it
            if backlog.due_at is None or backlog.due_at <= now:
                _log.exception("The consumer %s failed in a way that nobody foresaw.", backlog.row.name)
            backlog.due_at = now + _AGAIN
            return None

    def _list(self) -> None:
        """Find out who there is; keep what was read ahead for those that have not changed."""
        self._is_stale = False
        self._listed_at = time.monotonic()
        rows = [row for row in self._rows() if not row.paused]
        known, self._backlogs = self._backlogs, {}
        for row in rows:
            before = known.get(row.name)
            if before is not None and before.row.turn == row.turn:
                self._backlogs[row.name] = before
                continue
            try:
                self._backlogs[row.name] = Backlog(row)
            except (OstinatoError, AttributeError, ValueError) as error:
                if self._unreadable.get(row.name) != row.spec:
                    self._unreadable[row.name] = row.spec
                    _log.warning("The schedule %s cannot be read, so nothing comes of it: %s", row.name, error)

    def _rows(self) -> list[Schedule]:
        rows: list[Schedule] = []
        while True:
            page = self._host.store.list_schedules(
                ScheduleFilter(kinds=_KINDS, after=rows[-1].name if rows else "", limit=_PAGE)
            )
            rows += page
            if len(page) < _PAGE:
                return rows

    def _read(self) -> set[str]:
        """Read the events that backlogs have room for; return the names of those that are behind after that."""
        ended: set[int] = set()
        for _ in range(_PAGES):
            places = {each.upto for each in self._backlogs.values() if not each.is_full} - ended
            if not places:
                break
            place = min(places)
            page = self._host.store.list_events(None, after=place, limit=_PAGE)
            for backlog in self._backlogs.values():
                if backlog.upto >= place and not backlog.is_full:
                    backlog.take(page, self._flows_of)
            if len(page) < _PAGE:
                ended.add(page[-1].id if page else place)
        return {name for name, each in self._backlogs.items() if each.upto not in ended}

    def _store(self, decisions: dict[str, Decision]) -> bool:
        """Store decisions; one that is refused means that somebody has changed the row."""
        if not decisions:
            return False
        if late := deadlines_of_all(self._host.store, [*decisions.values()]):
            self._host.store.put_deadlines(late)
        changed = set(self._host.store.decide(list(decisions.values())))
        for name, decision in decisions.items():
            if name in changed:
                self._backlogs[name].settle(self._backlogs[name].row, decision)
            else:
                del self._backlogs[name]
                self._is_stale = True
        return any(decisions[name].runs for name in changed)
