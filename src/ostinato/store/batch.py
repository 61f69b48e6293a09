"""What one commit writes, table by table, ready for either dialect.

A group commit may hold the same row twice (started and finished between two commits): the last one counts, and
only that is written, since PostgreSQL refuses to touch a row twice in one statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from ostinato.states import State
from ostinato.store.rows import cleaned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.records import CacheEntry, Commit, StateValue, TaskRun

T = TypeVar("T", bound=msgspec.Struct)


class Blob(msgspec.Struct, frozen=True):
    """That a run, or a cache entry, names something in the result store."""

    hash: str
    run_id: str


def puts(run_id: str, entries: Commit) -> dict[str, Sequence[msgspec.Struct]]:
    """Sort what a commit puts by table; tables with nothing to put are left out."""
    tables: dict[str, Sequence[msgspec.Struct]] = {}
    if entries.task_runs:
        tables["task_run"] = _task_runs(entries)
    if entries.attempts:
        tables["attempt"] = entries.attempts
    if entries.logs:
        tables["log"] = entries.logs
    if entries.events:
        tables["event"] = entries.events
    if entries.states:
        kept = [state for state in _last_states(entries) if state.value is not None]
        if kept:
            tables["state_value"] = kept
    if entries.cached:
        tables["cache"] = _last_cached(entries)
    if entries.blobs:
        tables["blob"] = _blobs(run_id, entries)
    return tables


def removed_states(entries: Commit) -> list[StateValue]:
    """Return the state values that a commit removes."""
    return [state for state in _last_states(entries) if state.value is None] if entries.states else []


def shows_progress(entries: Commit) -> bool:
    """Tell whether a task run has succeeded, so that a recovery before it was not in vain."""
    return any(row.state is State.SUCCEEDED for row in entries.task_runs)


def cleaned_entries(entries: Commit) -> Commit:
    """Return the same with every text cleaned: the slow way, for the one commit in a million that needs it."""

    def each(items: Sequence[T]) -> list[T]:
        return [cleaned(item) for item in items]

    return msgspec.structs.replace(
        entries,
        task_runs=each(entries.task_runs),
        attempts=each(entries.attempts),
        events=each(entries.events),
        states=each(entries.states),
        cached=each(entries.cached),
        end=None if entries.end is None else cleaned(entries.end),
    )


def _task_runs(entries: Commit) -> Sequence[TaskRun]:
    """Return each task run once, those that are orphaned by the same commit as such."""
    rows = _last(entries.task_runs, lambda row: (row.run_id, row.seq))
    if not entries.orphans:
        return rows
    orphans = frozenset(entries.orphans)
    return [msgspec.structs.replace(row, orphaned=True) if row.seq in orphans else row for row in rows]


def _last(rows: Sequence[T], key: Callable[[T], object]) -> Sequence[T]:
    if len(rows) == 1:
        return rows
    last = {key(row): row for row in rows}
    return rows if len(last) == len(rows) else list(last.values())


def _last_cached(entries: Commit) -> Sequence[CacheEntry]:
    return _last(entries.cached, lambda row: row.key)


def _last_states(entries: Commit) -> Sequence[StateValue]:
    return _last(entries.states, lambda row: (row.run_id, row.task_run_id, row.name))


def _blobs(run_id: str, entries: Commit) -> list[Blob]:
    """Name each blob for the run, and for the cache entries whose result speaks of it.

    A cache entry outlives its run, so it holds on its own to what it names. Its result is opaque here, but a
    reference to a blob has the blob's hash in it, as text or as bytes.
    """
    rows = [Blob(name, run_id) for name in entries.blobs]
    for entry in entries.cached:
        rows += [Blob(name, f"cache:{entry.key}") for name in entries.blobs if _speaks_of(entry, name)]
    return rows


def _speaks_of(entry: CacheEntry, name: str) -> bool:
    if name.encode() in entry.result:
        return True
    try:
        return bytes.fromhex(name) in entry.result
    except ValueError:
        return False
