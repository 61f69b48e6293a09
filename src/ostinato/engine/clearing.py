"""Which task runs are run again: the choices behind `retry`, `rerun` and `fork`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.errors import UsageError, nearest
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostinato.records import TaskRun


def unfinished(rows: Iterable[TaskRun]) -> list[int]:
    """Choose what `retry` runs again: everything that did not succeed and was not skipped of its own will."""
    return [
        row.seq
        for row in rows
        if row.state not in {State.SUCCEEDED, State.SCHEDULED}
        and not (row.state is State.SKIPPED and row.reason in {"returned", "marked"})
    ]


def select(rows: Sequence[TaskRun], chosen: str) -> list[TaskRun]:
    """Find the task runs that a person names.

    Args:
        rows: The run's task runs.
        chosen: A task's key or the last part of it, either with ``[index]`` for one item of a map; a number
            (`seq`); or the beginning of an id, of 6 digits or more.

    Raises:
        UsageError: If it names nothing, with the nearest name.
    """
    name, _, index = chosen.partition("[")
    wanted = index.rstrip("]")
    found = [
        row
        for row in rows
        if (row.task == name or short_name(row.task) == name) and (not wanted or str(row.map_index) == wanted)
    ]
    if not found and chosen.isdigit():
        found = [row for row in rows if row.seq == int(chosen)]
    if not found and len(chosen) >= 6:  # noqa: PLR2004  # as the docstring says
        found = [row for row in rows if row.id.startswith(chosen)]
    if not found:
        names = sorted({short_name(row.task) for row in rows if row.kind != "value"})
        message = f"No task run {chosen!r} here; the run has {', '.join(names) or 'none yet'}.{nearest(name, names)}"
        raise UsageError(message)
    return found


def short_name(task: str) -> str:
    """Return the last part of a task's key, the function's own name."""
    return task.rpartition(".")[2] or task


def downstream(rows: Sequence[TaskRun], chosen: Iterable[int]) -> list[int]:
    """Find what depends, directly or not, on the chosen task runs: by data, by order, or as their children.

    Returns:
        The `seq` of each, without the chosen ones, in order.
    """
    takers: dict[int, list[int]] = {}
    for row in rows:
        for seq in [*parse_ranges(row.upstream), *([] if row.parent_seq is None else [row.parent_seq])]:
            takers.setdefault(seq, []).append(row.seq)
    start = set(chosen)
    reached, left = set(start), list(start)
    while left:
        for seq in takers.get(left.pop(), ()):
            if seq not in reached:
                reached.add(seq)
                left.append(seq)
    return sorted(reached - start)


def ancestors(rows: Sequence[TaskRun], chosen: Iterable[int]) -> list[int]:
    """Find the task runs in whose bodies the chosen ones were called: they must run again to reach them."""
    parents = {row.seq: row.parent_seq for row in rows}
    found: set[int] = set()
    for seq in chosen:
        parent = parents.get(seq)
        while parent is not None and parent not in found:
            found.add(parent)
            parent = parents.get(parent)
    return sorted(found)


def format_ranges(seqs: Iterable[int]) -> str | None:
    """Write numbers as ``1,4-9``; None when there are none."""
    parts: list[str] = []
    first = last = None
    for seq in sorted(set(seqs)):
        if last is not None and seq == last + 1:
            last = seq
            continue
        if first is not None:
            parts.append(_span(first, last))
        first = last = seq
    if first is not None:
        parts.append(_span(first, last))
    return ",".join(parts) or None


def _span(first: int, last: int | None) -> str:
    return str(first) if last is None or last == first else f"{first}-{last}"


def parse_ranges(text: str | None) -> list[int]:
    """Read what `format_ranges` wrote."""
    seqs: list[int] = []
    for part in (text or "").split(",") if text else []:
        first, _, last = part.partition("-")
        seqs.extend(range(int(first), int(last or first) + 1))
    return seqs
