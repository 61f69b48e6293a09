"""The grid of a run's task runs: one row per call, one for a whole map, nested calls under their callers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ostinato.cli.screen import counts_text, duration, seconds_text, state_text, table, when
from ostinato.clock import SECOND
from ostinato.engine.clearing import short_name
from ostinato.outcomes import parse_failure
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from ostinato.records import Run, TaskRun

_MANY: Final = 8
"""More calls of one task than this, in one body, are shown as one row."""
_FAILURES: Final = 8
_BAD: Final = (State.FAILED, State.CRASHED)


@dataclass(slots=True)
class Cell:
    """What one line of the grid stands for."""

    task: str
    parent: int | None
    is_map: bool
    rows: list[TaskRun] = field(default_factory=list)


def grid(run: Run, rows: Sequence[TaskRun], now: int) -> Table:
    """Draw the grid.

    Args:
        run: The run.
        rows: Its task runs.
        now: For how long what runs has been running.
    """
    made = table("#", "task", "state", "started", "took", "", right=("#",), whole=("#", "task", "started", "took"))
    for depth, cell in _walk(rows):
        _add(made, run, cell, depth, now)
    return made


def _walk(rows: Sequence[TaskRun]) -> Iterator[tuple[int, Cell]]:
    """Yield the cells, each caller before what it calls, with their depth."""
    below: dict[int | None, list[Cell]] = {}
    for cell in _cells(rows):
        below.setdefault(cell.parent, []).append(cell)
    known = {row.seq for row in rows}
    roots = [cell for parent, cells in below.items() if parent is None or parent not in known for cell in cells]
    left = [(0, cell) for cell in sorted(roots, key=lambda cell: cell.rows[0].seq, reverse=True)]
    while left:
        depth, cell = left.pop()
        yield depth, cell
        calls = [inner for row in cell.rows for inner in below.get(row.seq, ())]
        merged = _merge(calls) if len(cell.rows) > 1 else calls
        left.extend((depth + 1, inner) for inner in sorted(merged, key=lambda c: c.rows[0].seq, reverse=True))


def _cells(rows: Sequence[TaskRun]) -> list[Cell]:
    shown = sorted((row for row in rows if _is_shown(row)), key=lambda row: row.seq)
    calls = Counter((row.task, row.parent_seq) for row in shown if row.map_index is None)
    cells: list[Cell] = []
    groups: dict[tuple[str, int | None, bool, bool], Cell] = {}
    for row in shown:
        is_map = row.map_index is not None
        if not is_map and calls[row.task, row.parent_seq] <= _MANY:
            cells.append(Cell(row.task, row.parent_seq, is_map=False, rows=[row]))
            continue
        key = (row.task, row.parent_seq, is_map, row.orphaned)
        if key not in groups:
            groups[key] = Cell(row.task, row.parent_seq, is_map)
            cells.append(groups[key])
        groups[key].rows.append(row)
    return cells


def _is_shown(row: TaskRun) -> bool:
    """Leave out journaled values, and what was to run again but is not reached any more."""
    return row.kind != "value" and not (row.orphaned and row.state is State.SCHEDULED)


def _merge(cells: Sequence[Cell]) -> list[Cell]:
    """Show what the items of a map called as one line a task."""
    merged: dict[str, Cell] = {}
    for cell in cells:
        into = merged.setdefault(cell.task, Cell(cell.task, cell.parent, is_map=False))
        into.rows.extend(cell.rows)
    return list(merged.values())


def _add(made: Table, run: Run, cell: Cell, depth: int, now: int) -> None:
    first = cell.rows[0]
    many = len(cell.rows) > 1 or cell.is_map
    starts = [row.started_at for row in cell.rows if row.started_at is not None]
    made.add_row(
        Text(str(first.seq), "dim"),
        _name(cell, depth),
        counts_text(Counter(row.state for row in cell.rows)) if many else state_text(first.state, first.reason),
        when(min(starts, default=None), now),
        _took(cell.rows, now),
        Text(", ".join(_remarks(run, cell)), "dim"),
    )


def _name(cell: Cell, depth: int) -> Text:
    text = Text("  " * depth + short_name(cell.task), "dim" if all(row.orphaned for row in cell.rows) else "")
    if cell.is_map or len(cell.rows) > 1:
        text.append(f" ×{len(cell.rows)}", "dim")  # noqa: RUF001  # it does mean times  # noqa: RUF001  # it does mean times
    return text


def _took(rows: Sequence[TaskRun], now: int) -> str:
    """Write how long it took; for many, from the first start to the last end."""
    starts = [row.started_at for row in rows if row.started_at is not None]
    if not starts:
        return ""
    if any(row.state.is_live for row in rows):
        return duration(min(starts), now)
    ends = [row.finished_at for row in rows if row.finished_at is not None]
    return seconds_text(max(0, max(ends) - min(starts)) / SECOND) if ends else ""


def _remarks(run: Run, cell: Cell) -> Iterator[str]:
    first = cell.rows[0]
    attempts = max(row.attempt for row in cell.rows)
    if attempts > 1:
        yield f"{'up to ' if len(cell.rows) > 1 else ''}{attempts} attempts"
    orphans = sum(row.orphaned for row in cell.rows)
    if orphans:
        yield "orphaned" if orphans == len(cell.rows) else f"{orphans} orphaned"
    if first.child_run_id is not None and len(cell.rows) == 1:
        yield f"child run {first.child_run_id}"
    if not all(row.critical for row in cell.rows):
        yield "not critical"
    if first.run_id != run.id:
        yield f"from run {first.run_id}"


def failures(rows: Sequence[TaskRun]) -> Text | None:
    """Say how task runs failed, one line each; None when none did."""
    failed = [row for row in rows if row.state in _BAD and not row.orphaned]
    if not failed:
        return None
    lines = [_failure(row) for row in failed[:_FAILURES]]
    if len(failed) > _FAILURES:
        lines.append(Text(f"… {len(failed) - _FAILURES} more failed", "dim"))
    return Text("\n").join(lines)


def _failure(row: TaskRun) -> Text:
    index = f"[{row.map_index}]" if row.map_index is not None else ""
    text = Text.assemble(("✗ ", "red"), (f"{short_name(row.task)}{index}", "bold"), "  ")
    failure = parse_failure(row.error)
    if failure is None:
        return text.append(row.reason or str(row.state), "red")
    text.append(failure.line, "red")
    places = [place for place in failure.places if place.user]
    if places:
        text.append(f"  {Path(places[-1].file).name}:{places[-1].line}", "dim")
    return text
