"""The books of a simulation: what is written down while it is played, summed up at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.deadlines import due_of
from ostinato.limits import OVERLAP
from ostinato.simulate.meter import Causes, Meter
from ostinato.simulate.outlook import Foretold, Outlook, Played, spread_of
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.deadlines import Due
    from ostinato.records import Run
    from ostinato.simulate.crews import Line
    from ostinato.simulate.scene import Scene, Span
    from ostinato.work import Deployed

_MOST_PLAYED: Final = 100_000


class _Sheet:
    """What is noted of one deployment."""

    def __init__(self) -> None:
        self.runs = self.retried = self.unfinished = 0
        self.first_at: int | None = None
        self.last_at: int | None = None
        self.ended: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.late: list[float] = []
        self.waited: Counter[str] = Counter()
        self.took = 0
        self.missed = 0


class _Waiting:
    """What is noted of a run that waits."""

    __slots__ = ("gate", "is_kept", "since", "sums", "waited")

    def __init__(self) -> None:
        self.is_kept = False
        """It is never claimed."""
        self.gate: str | None = None
        self.since = 0
        self.sums: dict[str, int] = {}
        """Of its line when it came to stand in it."""
        self.waited: dict[str, int] = {}


class Books:
    """Everything that is noted.

    Args:
        scene: What is played.
        span: When.
        slots: Of all workers.
        workers: How many there are.
    """

    def __init__(self, scene: Scene, span: Span, slots: int, *, workers: int) -> None:
        self.meter = Meter(span, slots)
        self._scene, self._span, self._slots, self._workers = scene, span, slots, workers
        self._causes = Causes()
        self._sheets: dict[str, _Sheet] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._played: list[tuple[Run, dict[str, int]]] = []
        self._runs = 0
        self._notes = list(scene.notes)
        self._by_id: dict[str, int] = {}
        self._dues: dict[str, tuple[Due, float | None]] = {}
        for deployed in scene.deployed:
            if deployed.kind == "flow":
                self._sheet(deployed.name)
                self._note_deadline(deployed)

    def is_full(self, most: int) -> bool:
        """Tell whether there are more runs than anybody wants to see."""
        return self._runs >= most

    # --- runs

    def skip(self, deployment: str, reason: str, count: int = 1) -> None:
        """Note that nothing was started."""
        self._sheet(deployment).skipped[reason] += count

    def make(self, run: Run) -> None:
        """Note a new run."""
        sheet = self._sheet(_name(run))
        sheet.runs += 1
        due = run.created_at
        sheet.first_at = due if sheet.first_at is None else sheet.first_at
        sheet.last_at = due
        self._runs += 1
        self.meter.queued += 1
        if len(self._played) < _MOST_PLAYED:
            self._played.append((run, {}))
            self._by_id[run.id] = len(self._played) - 1

    def stand_before(self, run: Run, gate: str, now: int) -> None:
        """Note that a run waits for a slot of a limit."""
        self.pass_gates(run, now)
        waiting = self._waiting.setdefault(run.id, _Waiting())
        waiting.gate, waiting.since = _shown(gate), now
        self._causes.begin(waiting.gate, now)

    def pass_gates(self, run: Run, now: int) -> None:
        """Note that it does not wait there any more."""
        waiting = self._waiting.get(run.id)
        if waiting is None or waiting.gate is None:
            return
        self._causes.end(waiting.gate, now)
        self._count(waiting, waiting.gate, now - waiting.since)
        waiting.gate = None

    def queue(self, run: Run, line: Line, now: int) -> None:
        """Note that a run stands in the line of its pool."""
        line.settle(now)
        if line.sums:
            self._waiting.setdefault(run.id, _Waiting()).sums = dict(line.sums)

    def keep_back(self, run: Run, cause: str) -> None:
        """Note that a run is never claimed."""
        waiting = self._waiting.setdefault(run.id, _Waiting())
        waiting.is_kept = True
        self._count(waiting, cause, self._span.end - run.created_at)

    def change_cause(self, before: str | None, after: str | None, now: int) -> None:
        """Note what holds a line up from now on."""
        if before is not None:
            self._causes.end(before, now)
        if after is not None:
            self._causes.begin(after, now)

    def start(self, run: Run, line: Line, now: int) -> None:
        """Note that a run begins."""
        late = now - (run.created_at if run.scheduled_at is None else run.scheduled_at)
        sheet = self._sheet(_name(run))
        sheet.late.append(late / SECOND)
        self._leave_line(run, line, now)
        self.meter.queued -= 1
        self.meter.running += 1
        self.meter.mark(now, now - run.created_at)

    def drop(self, run: Run, line: Line, now: int) -> None:
        """Note that a run that waits does so no more, wherever it does."""
        waiting = self._waiting.get(run.id)
        if waiting is not None and waiting.is_kept:
            return
        if waiting is not None and waiting.gate is not None:
            self.pass_gates(run, now)
        else:
            self._leave_line(run, line, now)

    def end(self, run: Run, *, was_running: bool) -> None:
        """Note how a run ended."""
        sheet = self._sheet(_name(run))
        sheet.ended[str(run.state)] += 1
        sheet.retried += run.attempt > 1
        if was_running:
            self.meter.running -= 1
            sheet.took += (run.finished_at or 0) - (run.started_at or 0)
        else:
            self.meter.queued -= 1
        self._close_run(run)

    def leave_unfinished(self, run: Run, line: Line) -> None:
        """Note a run that has not ended when the time is over."""
        self._sheet(_name(run)).unfinished += 1
        if run.state is State.QUEUED:
            self.drop(run, line, self._span.end)
        self._close_run(run)

    def note(self, text: str) -> None:
        """Note a sentence for whoever reads it."""
        self._notes.append(text)

    # --- the end

    def close(self, *, seed: int, took: float) -> Outlook:
        """Sum up."""
        self._causes.close(self._span.end)
        late = [seconds for sheet in self._sheets.values() for seconds in sheet.late]
        return Outlook(
            begin=self._span.begin,
            end=self._span.end,
            workers=self._workers,
            slots=self._slots,
            seed=seed,
            took=took,
            runs=self._runs,
            deployments=[self._foretold(name, sheet) for name, sheet in sorted(self._sheets.items())],
            bindings=self._causes.worst(),
            stretches=self.meter.stretches(),
            used=self.meter.used(),
            late=spread_of(late),
            deadlines_missed=sum(sheet.missed for sheet in self._sheets.values()),
            played=[_played(run, waited) for run, waited in self._played],
            notes=self._notes,
        )

    def _foretold(self, name: str, sheet: _Sheet) -> Foretold:
        ended = sum(sheet.ended.values())
        return Foretold(
            deployment=name,
            runs=sheet.runs,
            first_at=sheet.first_at,
            last_at=sheet.last_at,
            ended=dict(sheet.ended),
            unfinished=sheet.unfinished,
            skipped=dict(sheet.skipped),
            retried=sheet.retried,
            late=spread_of(sheet.late),
            waited={cause: waited / SECOND for cause, waited in sheet.waited.most_common()},
            deadlines_missed=sheet.missed,
            source=self._scene.past(name).source,
            seconds=sheet.took / SECOND / ended if ended else 0.0,
        )

    # --- inside

    def _note_deadline(self, deployed: Deployed) -> None:
        due = due_of(msgspec.json.decode(deployed.options).get("deadline"))
        if due is not None:
            well = [draw.seconds for draw in self._scene.past(deployed.name).draws if draw.state is State.SUCCEEDED]
            self._dues[deployed.name] = due, sum(well) / len(well) if well else None

    def _count_missed(self, run: Run) -> None:
        """Count the deadlines that a run has missed, as far as the time goes."""
        due, average = self._dues[_name(run)]
        base = run.created_at if run.scheduled_at is None else run.scheduled_at
        end = self._span.end if run.finished_at is None else run.finished_at
        reached = {"start": run.started_at or end, "end": end}
        self._sheet(_name(run)).missed += sum(reached[row.kind] > row.due_at for row in due.rows(run.id, base, average))

    def _sheet(self, name: str) -> _Sheet:
        sheet = self._sheets.get(name)
        if sheet is None:
            sheet = self._sheets[name] = _Sheet()
        return sheet

    def _leave_line(self, run: Run, line: Line, now: int) -> None:
        if now == run.created_at and run.id not in self._waiting:
            return
        line.settle(now)
        waiting = self._waiting.setdefault(run.id, _Waiting())
        for cause, total in line.sums.items():
            self._count(waiting, cause, total - waiting.sums.get(cause, 0))

    def _count(self, waiting: _Waiting, cause: str, waited: int) -> None:
        if waited > 0:
            waiting.waited[cause] = waiting.waited.get(cause, 0) + waited
            self._causes.add(cause, waited)

    def _close_run(self, run: Run) -> None:
        if _name(run) in self._dues:
            self._count_missed(run)
        waiting = self._waiting.pop(run.id, None)
        place = self._by_id.pop(run.id, None)
        if waiting is None:
            return
        self._sheet(_name(run)).waited.update(waiting.waited)
        if place is not None:
            self._played[place] = (run, waiting.waited)


def _name(run: Run) -> str:
    return run.deployment or run.flow


def _shown(gate: str) -> str:
    return f"overlap {gate.removeprefix(OVERLAP)}" if gate.startswith(OVERLAP) else f"limit {gate}"


def _played(run: Run, waited: dict[str, int]) -> Played:
    return Played(
        deployment=_name(run),
        schedule=run.created_by or "",
        scheduled_at=run.created_at if run.scheduled_at is None else run.scheduled_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        state=str(run.state),
        waited={cause: span / SECOND for cause, span in waited.items()},
    )
