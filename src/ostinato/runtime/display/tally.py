"""What the display knows of the runs of this process: counters, and news that has not been shown yet.

`Tally.hear` is called for every event, in the thread where it happens, so it does next to nothing: it adds to counters
and appends to a queue, both whole under the interpreter's lock. Nothing here grows with the number of task runs.

```
flow ─┬─ task          one `Line` a task, however many runs it has
      ├─ child flow ─┬─ task
      │              └─ task
      └─ task
```
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import RunFailedError
from ostinato.outcomes import failure_of, parse_failure
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.engine.lifecycle import Save
    from ostinato.outcomes import Failure
    from ostinato.records import LogLine, Run, TaskRun
    from ostinato.runtime.feeder import Progress
    from ostinato.runtime.runner import Runner

MARK = "_ostinato_shown"
"""The attribute of an exception that says that a person has seen it."""
_FAILURES_IN_FULL = 5
"""Failures of one task that are shown with their traceback; the rest is counted."""
_MANY_NEWS = 20_000


class Counts:
    """How many task runs of one task are, or ended, how."""

    __slots__ = (
        "begun", "busy", "cached", "cancelled", "failed", "over", "paused", "replayed", "skipped", "succeeded",
    )  # fmt: skip

    def __init__(self) -> None:
        self.begun = 0
        """Attempts that began."""
        self.over = 0
        """Attempts that ended other than well."""
        self.succeeded = self.cached = self.replayed = self.failed = self.skipped = self.cancelled = 0
        self.paused = 0
        self.busy = 0
        """Microseconds that the successful attempts took together."""

    @property
    def running(self) -> int:
        """Attempts under way."""
        return max(0, self.begun - self.succeeded - self.over)

    @property
    def ended(self) -> int:
        """Task runs that have ended, or had."""
        return self.succeeded + self.cached + self.replayed + self.failed + self.skipped + self.cancelled

    @property
    def mean(self) -> float | None:
        """Seconds a successful attempt took on average."""
        return self.busy / self.succeeded / SECOND if self.succeeded else None

    def add(self, other: Counts) -> None:
        """Add another's."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Line(Counts):
    """One task, or one flow, of a run: what is one line of the display."""

    __slots__ = ("began", "changed", "children", "is_flow", "maps", "name", "pauses", "samples")

    def __init__(self, name: str, *, is_flow: bool = False) -> None:
        super().__init__()
        self.name, self.is_flow = name, is_flow
        self.children: dict[str, Line] = {}
        self.maps: list[Progress] = []
        """How far its maps are."""
        self.pauses: dict[int, tuple[float, str]] = {}
        """Those that wait for their next attempt: when it is due, on the monotonic clock, and why."""
        self.began = time.monotonic()
        self.samples: deque[tuple[float, int]] = deque(maxlen=100)
        """What the sampling thread has seen: how many had ended when."""

    def walk(self) -> Iterator[Line]:
        """Yield every line beneath this one."""
        for child in list(self.children.values()):
            yield child
            yield from child.walk()

    def total(self) -> Counts:
        """Add up everything beneath this line."""
        counts = Counts()
        for line in self.walk():
            counts.add(line)
            counts.paused += len(line.pauses)
        return counts

    def mapped(self) -> tuple[int, int | None]:
        """Return how many items of its maps have ended, and of how many: None while that is not known."""
        ended, items = 0, 0
        is_known = True
        for one in self.maps:
            ended += one.started - one.under_way
            if one.is_closed:
                items += one.started
            elif one.expected is not None:
                items += one.expected
            else:
                is_known = False
        return ended, items if is_known else None


class Head(Line):
    """A run that nobody in this process called: the head of a tree of lines."""

    __slots__ = ("left_out", "replayed_of", "run")

    def __init__(self, run: Run) -> None:
        super().__init__(run.flow, is_flow=True)
        self.run = run
        self.left_out = 0
        """Lines that were not shown, for there were too many."""


class Started(NamedTuple):
    """News: a run has begun."""

    at: float
    head: Head


class Logged(NamedTuple):
    """News: a line was logged or printed."""

    at: float
    head: Head | None
    who: str
    level: int
    text: str
    is_print: bool


class Failed(NamedTuple):
    """News: a task run has failed for good, or a run without any of its task runs having done so."""

    at: float
    who: str
    failure: Failure | None
    reason: str | None
    is_critical: bool


class Paused(NamedTuple):
    """News: a task run or a run is tried again later."""

    at: float
    who: str
    attempt: int
    seconds: float
    why: str
    is_retry: bool


class Ended(NamedTuple):
    """News: a run that nobody in this process called has ended."""

    at: float
    head: Head
    state: State
    failure: Failure | None
    """How it failed, unless that was shown already."""
    seconds: float
    is_stopped: bool
    """It was ended by an error or by somebody, so that going on with it makes sense."""


News = Started | Logged | Failed | Paused | Ended


class Tally:
    """Hears every event of this process."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        """The runs under way that nobody in this process called."""
        self.news: deque[News] = deque()
        self.urgent = threading.Event()
        """Set when there is news that a person should see at once."""
        self.overflow = 0
        """Log lines that were dropped because nobody could take them so fast."""
        self._lines: dict[Runner, Line] = {}
        self._flows: dict[str, Line] = {}
        self._heads: dict[str, Head] = {}
        self._takers: dict[str, Callable[..., None]] = {
            "task_run.saved": self._saved,
            "task_run.running": self._running,
            "task_run.replayed": self._replayed,
            "map.grew": self._grew,
            "log": self._log,
            "run.started": self._started,
            "run.retrying": self._again,
            "run.ended": self._ended,
        }

    def hear(self, name: str, subject: Any) -> None:
        """Take an event."""
        take = self._takers.get(name)
        if take is not None:
            take(*subject)

    def _running(self, runner: Runner, row: TaskRun) -> None:
        line = self._line(runner, row)
        line.begun += 1
        if line.pauses:
            line.pauses.pop(row.seq, None)

    def _saved(self, runner: Runner, row: TaskRun, command: Save) -> None:
        line = self._line(runner, row)
        if row.state is not State.SUCCEEDED:
            self._unusual(line, row, command)
        elif row.reason == "cached":
            line.cached += 1
        else:
            line.succeeded += 1
            line.busy += (row.finished_at or 0) - (row.started_at or 0)

    def _replayed(self, runner: Runner, row: TaskRun) -> None:
        self._line(runner, row).replayed += 1

    def _grew(self, runner: Runner, task: str, progress: Progress) -> None:
        line = self._named(runner, task)
        if not any(known is progress for known in line.maps):
            line.maps.append(progress)

    # --- lines

    def _line(self, runner: Runner, row: TaskRun) -> Line:
        try:
            return self._lines[runner].children[row.task]
        except KeyError:
            return self._named(runner, row.task, is_flow=row.kind == "flow", is_value=row.kind == "value")

    def _named(self, runner: Runner, task: str, *, is_flow: bool = False, is_value: bool = False) -> Line:
        flow = self._lines.get(runner)
        if flow is None or is_value:
            return Line(task)  # a run that began before anybody looked, or what nobody wants to see
        return flow.children.setdefault(task, Line(task, is_flow=is_flow))

    # --- task runs

    def _unusual(self, line: Line, row: TaskRun, command: Save) -> None:
        state = row.state
        if state is State.SKIPPED:
            line.skipped += 1
            line.over += row.reason == "returned"
            return
        line.over += 1
        if state is State.CANCELLED:
            line.cancelled += 1
        elif state in (State.FAILED, State.CRASHED):
            line.failed += 1
            self._failed(line, row, command)
        else:
            self._paused(line, row, command)

    def _failed(self, line: Line, row: TaskRun, command: Save) -> None:
        if line.is_flow or line.failed > _FAILURES_IN_FULL:
            return  # a child run has said it itself
        if command.settled is not None and not mark_shown(command.settled.error):
            return
        failure = parse_failure(row.error)
        self.news.append(Failed(time.time(), label(row.task, row.map_index), failure, row.reason, row.critical))
        self.urgent.set()

    def _paused(self, line: Line, row: TaskRun, command: Save) -> None:
        if row.kind == "wait":
            line.over -= 1  # it has only begun
            return
        facts = msgspec.json.decode(command.entries.events[-1].data) if command.entries.events else {}
        seconds = float(facts.get("in_seconds") or 0)
        failure = parse_failure(row.error)
        why = failure.line if failure is not None else row.reason or ""
        line.pauses[row.seq] = (time.monotonic() + seconds, why)
        is_retry = row.state is State.RETRYING
        if len(line.pauses) <= _FAILURES_IN_FULL:
            who = label(row.task, row.map_index)
            self.news.append(Paused(time.time(), who, row.attempt, seconds, why, is_retry))

    # --- runs

    def _again(self, runner: Runner, seconds: float, error: BaseException) -> None:
        self._over(runner)
        why = f"{type(error).__name__}: {error}"
        self.news.append(Paused(time.time(), runner.run.flow, runner.run.attempt, seconds, why, is_retry=True))

    def _started(self, runner: Runner) -> None:
        run = runner.run
        above = self._flows.get(run.parent_run_id or "")
        if above is not None:
            flow = above.children.setdefault(run.flow, Line(run.flow, is_flow=True))
            self._lines[runner] = self._flows[run.id] = flow
            return
        head = self._heads.get(run.id)
        if head is None:
            head = self._heads[run.id] = Head(run)
            self.heads.append(head)
            self.news.append(Started(time.time(), head))
            self.urgent.set()
        self._lines[runner] = self._flows[run.id] = head

    def _over(self, runner: Runner) -> Line | None:
        """Forget a pass; what it left under way has been cancelled."""
        flow = self._lines.pop(runner, None)
        self._flows.pop(runner.run.id, None)
        if flow is None or any(other is flow for other in list(self._lines.values())):
            return flow
        for line in flow.children.values():
            left = line.running
            line.over += left
            line.cancelled += left + len(line.pauses)
            line.pauses.clear()
        return flow

    def _ended(self, runner: Runner, state: State, error: BaseException | None) -> None:
        flow = self._over(runner)
        failure = None
        if error is not None and mark_shown(error) and not _only_counts(error) and state is not State.CANCELLED:
            failure = failure_of(error)
        if isinstance(flow, Head):
            self._heads.pop(flow.run.id, None)
            self.heads.remove(flow)
            self.news.append(Ended(time.time(), flow, state, failure, time.monotonic() - flow.began, error is not None))
        elif failure is not None:
            self.news.append(Failed(time.time(), runner.run.flow, failure, None, is_critical=True))

    # --- lines of text

    def _log(self, runner: Runner, task: str | None, index: int | None, line: LogLine) -> None:
        is_print = line.logger in {"stdout", "stderr"}
        if is_print and task is None:
            return  # what the body prints has gone where it went before
        if len(self.news) >= _MANY_NEWS:
            self.overflow += 1
            return
        who = runner.run.flow if task is None else label(task, index)
        self.news.append(Logged(line.at / SECOND, self._head(runner), who, line.level, line.message, is_print))

    def _head(self, runner: Runner) -> Head | None:
        line = self._lines.get(runner)
        if isinstance(line, Head):
            return line
        return self.heads[0] if self.heads else None

    def warn(self, message: str) -> None:
        """Take a warning of Ostinato's own."""
        self.news.append(Logged(time.time(), None, "ostinato", logging.WARNING, message, is_print=False))


def label(task: str, index: int | None) -> str:
    """Name a task run for a person: ``load[3]``."""
    name = task.rpartition(".")[2] or task
    return name if index is None else f"{name}[{index}]"


def _only_counts(error: BaseException) -> bool:
    """Whether it is our own word that task runs failed, which were shown."""
    return isinstance(error, RunFailedError) and hasattr(error.__cause__, MARK)


def mark_shown(error: BaseException | None) -> bool:
    """Mark an exception as shown to a person; False if it was already."""
    if error is None:
        return True
    if hasattr(error, MARK):
        return False
    try:
        setattr(error, MARK, True)
    except (AttributeError, TypeError):  # an exception with slots: it may be shown twice
        return True
    return True
