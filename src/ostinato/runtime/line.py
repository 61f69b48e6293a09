"""How a `RunHandle` reaches its run: from inside a run, where waiting is durable, and from outside."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from ostinato.engine.memo import NOT_REPLAYABLE
from ostinato.errors import ResultError, RunCancelledError, RunFailedError, RunStateError
from ostinato.io.results import ResultStore
from ostinato.outcomes import parse_failure
from ostinato.runtime.cancelling import cancel_run
from ostinato.runtime.finding import store_for
from ostinato.runtime.lookout import Lookout
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ostinato.records import Run
    from ostinato.runtime.runner import Runner
    from ostinato.settings import Settings
    from ostinato.store.store import Store

_PATIENCE = 10.0
"""Seconds for which a store is asked at a time to wait."""


class InsideLine:
    """Reaches runs from inside a run.

    Args:
        runner: The pass whose body asks.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def find(self, run_id: str) -> Run:
        """Return the run as it is now."""
        return self._runner.session.store.get_run(run_id)

    def has_ended(self, run_id: str) -> bool:
        """Tell whether it has ended."""
        self._runner.refuse_when_stopping()
        return bool(self._runner.session.store.await_runs([run_id]))

    def wait(self, run_id: str, timeout: float | None) -> bool:
        """Wait for its end in this thread; without a timeout the process may be given up meanwhile."""
        if self.has_ended(run_id):
            return True
        over, event = threading.Event(), threading.Event()  # a signal to this thread sets the second too

        def ended() -> None:
            over.set()
            event.set()

        drop = self.on_ended(run_id, ended)
        try:
            if timeout is not None:
                self._runner.wait(event, timeout)
            else:
                with self.awaiting(run_id):
                    while not over.is_set():
                        event.clear()
                        if not over.is_set():
                            self._runner.rest(event)
                        self._runner.refuse_when_stopping()
        finally:
            drop()
        self._runner.refuse_when_stopping()
        return over.is_set()

    def awaiting(self, run_id: str) -> AbstractContextManager[None]:
        """Note that its end is awaited while the context lasts."""
        return self._runner.still.awaiting(self._runner, "run", key=run_id)

    def on_ended(self, run_id: str, callback: Callable[[], None]) -> Callable[[], object]:
        """Call back once it has ended; returns what ends that."""
        lookout = self._runner.session.lookout
        lookout.watch(run_id, callback)
        return lambda: lookout.drop(run_id, callback)

    def value(self, run_id: str) -> Any:
        """Return what the run, which has ended, returned, or raise what became of it."""
        self._runner.refuse_when_stopping()
        return value_of(self.find(run_id), self._runner.session.results)

    def cancel(self, run_id: str) -> Run:
        """Ask it, and its child runs, to stop."""
        return _cancel(self._runner.session.store, run_id)


class OutsideLine:
    """Reaches runs from outside of any run; it keeps its store open for as long as a handle has it."""

    def __init__(self, settings: Settings) -> None:
        self.store = store_for(settings)
        self.results = ResultStore(settings.results_url, token=lambda: getattr(self.store, "token", ""))
        self._lookout = Lookout(self.store)
        weakref.finalize(self, _close, self._lookout, self.store)

    def find(self, run_id: str) -> Run:
        """Return the run as it is now."""
        return self.store.get_run(run_id)

    def has_ended(self, run_id: str) -> bool:
        """Tell whether it has ended."""
        return bool(self.store.await_runs([run_id]))

    def wait(self, run_id: str, timeout: float | None) -> bool:
        """Wait for its end in this thread."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _PATIENCE if until is None else min(_PATIENCE, until - time.monotonic())
            if self.store.await_runs([run_id], wait=max(0.0, left)):
                return True
            if until is not None and time.monotonic() >= until:
                return False

    def awaiting(self, run_id: str) -> AbstractContextManager[object]:
        """Do nothing: there is no process to give up."""
        return contextlib.nullcontext(run_id)

    def on_ended(self, run_id: str, callback: Callable[[], None]) -> Callable[[], object]:
        """Call back once it has ended; returns what ends that."""
        self._lookout.watch(run_id, callback)
        return lambda: self._lookout.drop(run_id, callback)

    def value(self, run_id: str) -> Any:
        """Return what the run, which has ended, returned, or raise what became of it."""
        return value_of(self.find(run_id), self.results)

    def cancel(self, run_id: str) -> Run:
        """Ask it, and its child runs, to stop."""
        return _cancel(self.store, run_id)


def _close(lookout: Lookout, store: Store) -> None:
    lookout.close()
    store.close()


def _cancel(store: Store, run_id: str) -> Run:
    try:
        return cancel_run(store, run_id)
    except RunStateError:  # it has ended
        return store.get_run(run_id)


def value_of(run: Run, results: ResultStore) -> Any:
    """Return what a run that has ended returned, or raise what became of it.

    Raises:
        RunCancelledError: If it was cancelled.
        RunFailedError: If it failed or crashed.
        ResultError: If its result was not stored.
    """
    if run.state is State.SUCCEEDED or run.reason == "returned":
        if run.result is not None and run.result[:1] == NOT_REPLAYABLE:
            raise ResultError(f"The result of run {run.id} of {run.flow} was not stored: {run.result[1:].decode()}")
        return None if run.result is None else results.load(run.result)
    if run.state is State.CANCELLED:
        raise RunCancelledError(f"Run {run.id} of {run.flow} was cancelled.")
    failure = parse_failure(run.error)
    why = failure.line if failure is not None else run.reason or "no more is known"
    error = RunFailedError(f"Run {run.id} of {run.flow} {run.state}: {why}")
    if failure is not None and failure.traceback:
        error.add_note(f"There:\n{failure.traceback.rstrip()}")
    raise error
