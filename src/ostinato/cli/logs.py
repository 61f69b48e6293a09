"""``ostinato runs logs``."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, RunId, store
from ostinato.cli.screen import console
from ostinato.clock import to_datetime
from ostinato.engine.clearing import select, short_name
from ostinato.errors import UsageError, nearest
from ostinato.records import LogLine
from ostinato.runtime.finding import find_run
from ostinato.runtime.overview import log_line
from ostinato.runtime.process import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ostinato.records import Run, TaskRun
    from ostinato.store.store import Store

Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative=(), help="Go on until the run ends.")]
OfTask = Annotated[str | None, Parameter(name="--task", help="Only lines of this task: NAME, NAME[INDEX] or a number.")]
Level = Annotated[
    str | None, Parameter(name="--level", help="Only lines of this level or higher: debug, info, warning, error.")
]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_STYLES: Final = {10: "dim", 20: "", 30: "yellow", 40: "bold red", 50: "bold red"}
_LOOK_AGAIN: Final = 0.3
_decode = msgspec.json.Decoder(list[LogLine]).decode


def logs(
    run: RunId, /, *, follow: Follow = False, task: OfTask = None, level: Level = None, json: AsJson = False
) -> None:
    """Show what a run's flow and tasks logged and printed.

    With --json each line is one JSON object.
    """
    lowest = _level(level)
    with store() as opened:
        found = find_run(opened, run)
        reader = _Reader(opened, found, task)
        target = console()
        for line in reader.follow() if follow else reader.read():
            if line.level < lowest:
                continue
            if json:
                print(msgspec.json.encode(log_line(line, reader.task_of(line))).decode(), flush=follow)
            else:
                _show(target, line, reader.label_of(line))


def _level(name: str | None) -> int:
    if name is None:
        return 0
    if name.lower() not in _LEVELS:
        raise UsageError(f"{name!r} is no level; expected one of {', '.join(_LEVELS)}.{nearest(name, _LEVELS)}")
    return _LEVELS[name.lower()]


class _Reader:
    """Reads the lines of a run, and knows which task run wrote each."""

    def __init__(self, store: Store, run: Run, task: str | None) -> None:
        self._store, self._run, self._task = store, run, task
        self._rows: dict[int, TaskRun] = {}
        self._after = (-1, -1)
        if task is not None and run.state.is_terminal:
            self._load()
            select(list(self._rows.values()), task)  # a name that means nothing is refused

    def read(self) -> Iterator[LogLine]:
        """Yield the lines from where the last reading ended."""
        while batches := self._store.read_logs(self._run.id, after=self._after):
            for batch in batches:
                self._after = (batch.epoch, batch.n)
                for line in _decode(batch.lines):
                    if self._task is None or self._is_wanted(line):
                        yield line

    def follow(self) -> Iterator[LogLine]:
        """Yield lines until the run has ended and all are read."""
        while True:
            sweep(self._store)
            over = self._store.get_run(self._run.id).state.is_terminal
            yield from self.read()
            if over:
                return
            time.sleep(_LOOK_AGAIN)

    def task_of(self, line: LogLine) -> str | None:
        """Return the key of the task that wrote a line; None for the flow's body."""
        row = self._row(line)
        return None if row is None else row.task

    def label_of(self, line: LogLine) -> str:
        """Name who wrote a line."""
        row = self._row(line)
        if row is None:
            return self._run.flow
        return short_name(row.task) + (f"[{row.map_index}]" if row.map_index is not None else "")

    def _is_wanted(self, line: LogLine) -> bool:
        row = self._row(line)
        if row is None:
            return False
        try:
            return bool(select([row], self._task or ""))
        except UsageError:
            return False

    def _row(self, line: LogLine) -> TaskRun | None:
        if line.seq is None:
            return None
        if line.seq not in self._rows:
            self._load()
        return self._rows.get(line.seq)

    def _load(self) -> None:
        for row in self._store.load(self._run.id):
            self._rows.setdefault(row.seq, row)


def _show(target: Console, line: LogLine, label: str) -> None:
    clock = f"{to_datetime(line.at).astimezone():%H:%M:%S.%f}"[:-3]
    name, who = f" {_name(line):<7} ", f"{label:<14} "
    if not target.is_terminal:  # four times as quick: there may be a million lines
        print(clock + name + who + line.message)
        return
    style = _STYLES.get(line.level // 10 * 10, "")
    loud = style if line.level >= logging.WARNING and line.logger != "stderr" else ""
    target.print(Text.assemble((clock, "dim"), (name, style), (who, "cyan"), (line.message, loud)), soft_wrap=True)


def _name(line: LogLine) -> str:
    return line.logger if line.logger in {"stdout", "stderr"} else logging.getLevelName(line.level).lower()
