"""One attempt of a task that is carried out as a run of its own, by a worker of another pool.

```
parent's task run, waiting ── child_run_id ──► Run(kind "task"), queued ─► claimed ─► its end
                           ◄── result with its fingerprint, or the exception ───────────┘
```

The id of that run is on record before it exists, and making it twice makes it once. So whatever dies, the next pass
finds it and waits on.
"""

from __future__ import annotations

import contextlib
import logging
import random
from typing import TYPE_CHECKING

from ostinato.engine.lifecycle import Result
from ostinato.engine.memo import NOT_REPLAYABLE
from ostinato.errors import OstinatoError, OutOfMemory, ResultError, StoreError, TaskFailedError
from ostinato.io.exceptions import decode_error, encode_error
from ostinato.io.serializers import find_reference
from ostinato.outcomes import Cancelled, LeaseLost, Suspended, parse_failure
from ostinato.runtime.cancelling import cancel_run
from ostinato.runtime.making import sent_run
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ostinato.engine.lifecycle import Send
    from ostinato.records import Run, TaskRun
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner
    from ostinato.store.store import Store

_SERVED_WITHIN = 5.0
"""Seconds after which it is said that nobody serves a pool."""


class Sent:
    """An attempt that was sent away."""

    def __init__(self, runner: Runner, call: Call, command: Send) -> None:
        """Send it, unless an earlier pass has."""
        assert command.row.child_run_id is not None
        self.run_id = command.row.child_run_id
        self.ended = False
        self._runner, self._call = runner, call
        self._refused: OstinatoError | None = None
        self._wake: Callable[[], None] = lambda: None
        runner.begin_attempt(call, command.row)
        try:
            run = runner.session.store.create(sent_run(runner, call, command.memory))
        except StoreError:
            raise
        except OstinatoError as error:  # the server does not take it: that is how the attempt ended
            self._refused, self.ended = error, True
            return
        self.ended = run.state.is_terminal
        if not self.ended:
            _mind_the_pool(runner, call.options.pool or "")

    def awaited(self) -> AbstractContextManager[None]:
        """Note that its end is awaited while the context lasts."""
        return self._runner.still.awaiting(self._runner, "run", key=self.run_id, seq=self._call.row.seq)

    def watch(self, wake: Callable[[], None]) -> None:
        """Call back once it has ended, at once if it has; from any thread."""
        self._wake = wake
        if self.ended:
            wake()
        else:
            self._runner.session.lookout.watch(self.run_id, self._hear)

    def _hear(self) -> None:
        self.ended = True
        self._wake()

    def drop(self, signal: BaseException | None) -> bool:
        """Wait for it no longer; unless this process only lets go of its own run, it is cancelled.

        Returns:
            Whether it will not call back any more.
        """
        session = self._runner.session
        if not self.ended and not isinstance(signal, (LeaseLost, Suspended)):
            session.ask(lambda: _cancel(session.store, self.run_id))
        return session.lookout.drop(self.run_id, self._hear)

    def result(self) -> Result:
        """Say what came of it, once it has ended."""
        row = self._call.row
        if self._refused is not None:
            now = self._runner.clock.now()
            return _failed(Result(started_at=row.started_at or now, finished_at=now), self._refused)
        store = self._runner.session.store
        run = store.get_run(self.run_id)
        finished_at = run.finished_at or self._runner.clock.now()
        result = Result(started_at=min(row.started_at or finished_at, finished_at), finished_at=finished_at)
        result.chance = random.random()  # jitter
        own = [found for found in store.list_task_runs(run.id) if found.task == row.task and found.parent_seq is None]
        try:
            self._read(result, run, own[-1] if own else None)
        except ResultError as error:
            _failed(result, error)
        if result.error is not None and row.inputs is None:
            result.inputs = self._runner.recorder.all_inputs(self._call)
        return result

    def _read(self, result: Result, run: Run, row: TaskRun | None) -> None:
        if run.state is State.CRASHED:
            result.lost = f"its run {run.id} crashed ({run.reason})"
        elif run.state is State.FAILED:
            _failed(result, _error_of(run, row))
        elif run.state is State.CANCELLED and run.reason != "returned":
            result.error = Cancelled(f"its run {run.id} was cancelled")
        elif row is None or row.result is None or row.result[:1] == NOT_REPLAYABLE:
            raise ResultError(f"The result of {run.flow} could not be stored by run {run.id}, so it cannot be taken.")
        else:
            result.value = self._runner.session.results.load(row.result)
            result.stored, result.fp = row.result, row.result_fp
            reference = find_reference(row.result)
            result.blob = None if reference is None else reference.hash
            self._runner.recorder.produced(row.result_fp, self._call.row.seq, len(row.result))


def _cancel(store: Store, run_id: str) -> None:
    with contextlib.suppress(OstinatoError):  # it has ended, or cannot be reached
        cancel_run(store, run_id)


def _error_of(run: Run, row: TaskRun | None) -> BaseException:
    failure = parse_failure(run.error)
    if failure is not None and failure.type == "OutOfMemory":
        return OutOfMemory(failure.message)
    if row is not None and row.state is State.FAILED and row.result is not None:
        return decode_error(row.result)
    return TaskFailedError(f"Run {run.id} of {run.flow} failed: {failure.line if failure else run.reason}")


def _failed(result: Result, error: BaseException) -> Result:
    result.error, result.stored, result.value = error, encode_error(error), None
    return result


def _mind_the_pool(runner: Runner, pool: str) -> None:
    """Say, once, when nobody serves a pool after some seconds."""
    session = runner.session
    if pool in session.minded:
        return
    session.minded.add(pool)
    session.timers.later(_SERVED_WITHIN, lambda: session.ask(lambda: _warn_if_unserved(runner, pool)))


def _warn_if_unserved(runner: Runner, pool: str) -> None:
    with contextlib.suppress(OstinatoError):  # a run's token may not look at workers; `runs why` tells there
        if not any(pool in worker.pools for worker in runner.session.store.list_workers()):
            message = (
                f"No worker serves the pool {pool!r}, so what is sent there waits: `ostinato worker --pool {pool}`."
            )
            runner.log(logging.WARNING, "ostinato", message)
            runner.session.announce(message)
