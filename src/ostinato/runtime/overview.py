"""A run as data that anything may show: the shape that ``runs show --json`` prints and the server will send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ostinato.clock import to_rfc3339
from ostinato.io.serializers import to_json
from ostinato.outcomes import parse_failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostinato.records import Attempt, LogLine, Run, TaskRun
    from ostinato.states import State


def summary(run: Run, counts: Mapping[State, int] | None = None) -> dict[str, Any]:
    """Describe a run without its task runs. Nothing is unpickled.

    Args:
        run: The run.
        counts: Its task runs by state.
    """
    shape = {
        "id": run.id,
        "flow": run.flow,
        "state": str(run.state),
        "reason": run.reason,
        "epoch": run.epoch,
        "attempt": run.attempt,
        "parameters": None if run.parameters is None else to_json(run.parameters),
        "created_at": to_rfc3339(run.created_at),
        "started_at": to_rfc3339(run.started_at),
        "finished_at": to_rfc3339(run.finished_at),
        "result": None if run.result is None else to_json(run.result),
        "error": error_of(run.error),
        "tags": list(run.tags),
        "key": run.key,
        "target": run.target,
        "parent_run_id": run.parent_run_id,
        "branch_of": run.branch_of,
        "kind": run.kind,
        "deployment": run.deployment,
        "pool": run.pool,
        "queue": run.queue if run.pool is not None else None,
        "priority": run.priority,
        "scheduled_at": to_rfc3339(run.scheduled_at),
        "cancel_requested_at": to_rfc3339(run.cancel_requested_at),
        "recoveries": run.recoveries,
        "worker_id": run.worker_id,
        "created_by": run.created_by,
        "bundle": run.bundle,
    }
    if counts is not None:
        shape["counts"] = {str(state): count for state, count in counts.items()}
    return shape


def details(run: Run, rows: Sequence[TaskRun], attempts: Sequence[Attempt] = ()) -> dict[str, Any]:
    """Describe a run with its task runs; those that a fork reads through have another `run_id`.

    Args:
        run: The run.
        rows: Its task runs, each with its latest attempt in it.
        attempts: The attempts before those, of the run's own task runs.
    """
    ids = {row.seq: row.id for row in rows}
    earlier: dict[int, list[dict[str, Any]]] = {}
    for attempt in attempts:
        earlier.setdefault(attempt.seq, []).append(attempt_of(attempt))
    shown = sorted((row for row in rows if row.kind != "value"), key=lambda row: row.seq)
    return {**summary(run), "task_runs": [task_run(row, ids, _own(row, run, earlier)) for row in shown]}


def _own(row: TaskRun, run: Run, earlier: Mapping[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return earlier.get(row.seq, []) if row.run_id == run.id else []


def attempt_of(attempt: Attempt) -> dict[str, Any]:
    """Describe an earlier attempt of a task run."""
    return {
        "attempt": attempt.attempt,
        "epoch": attempt.epoch,
        "state": str(attempt.state),
        "reason": attempt.reason,
        "started_at": to_rfc3339(attempt.started_at),
        "finished_at": to_rfc3339(attempt.finished_at),
        "error": error_of(attempt.error),
    }


def task_run(row: TaskRun, ids: Mapping[int, str], earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe a task run.

    Args:
        row: It, with its latest attempt in it.
        ids: The ids of those it may depend on or be called by, by number; what is not in it is left out.
        earlier: The attempts before the latest, described.
    """
    return {
        "id": row.id,
        "seq": row.seq,
        "task": row.task,
        "key": row.key,
        "map_index": row.map_index,
        "partition": row.partition,
        "state": str(row.state),
        "reason": row.reason,
        "attempts": row.attempt,
        "earlier_attempts": earlier,
        "started_at": to_rfc3339(row.started_at),
        "finished_at": to_rfc3339(row.finished_at),
        "upstream": [ids[seq] for seq in _among(row.upstream, ids)],
        "parent": None if row.parent_seq is None else ids.get(row.parent_seq),
        "upstream_seqs": row.upstream or "",
        "parent_seq": row.parent_seq,
        "kind": row.kind,
        "orphaned": row.orphaned,
        "error": error_of(row.error),
        "child_run_id": row.child_run_id,
        "run_id": row.run_id,
    }


def _among(ranges: str | None, seqs: Mapping[int, str]) -> list[int]:
    """List those of `seqs` that lie in ranges such as ``1-5,8``, however wide these are."""
    found: list[int] = []
    for part in ranges.split(",") if ranges else ():
        first, _, last = part.partition("-")
        wide = range(int(first), int(last or first) + 1)
        few, many = (wide, seqs) if len(wide) <= len(seqs) else (seqs, wide)
        found += [seq for seq in few if seq in many]
    return found


def error_of(error: str | None) -> dict[str, Any] | None:
    """Describe a recorded failure: its type, its message, its traceback."""
    failure = parse_failure(error)
    if failure is None:
        return None
    return {"type": failure.type, "message": failure.message, "traceback": failure.traceback}


def log_line(line: LogLine, task: str | None) -> dict[str, Any]:
    """Describe one line that a flow or a task wrote."""
    return {
        "at": to_rfc3339(line.at),
        "level": line.level,
        "logger": line.logger,
        "task": task,
        "seq": line.seq,
        "attempt": line.attempt,
        "message": line.message,
    }
