"""This process as a worker: its store, its lease, its executors and timers, for as long as it holds runs."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import logging
import os
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from ostinato.clock import SystemClock
from ostinato.errors import StoreError
from ostinato.executors import make_executor
from ostinato.ids import new_id
from ostinato.io.results import ResultStore
from ostinato.outcomes import Cancelled, LeaseLost
from ostinato.records import Worker
from ostinato.runtime.finding import store_for
from ostinato.runtime.gates import Gates
from ostinato.runtime.journal import Committer
from ostinato.runtime.listener import Listener
from ostinato.runtime.lookout import Lookout
from ostinato.runtime.process import process_started, this_host
from ostinato.runtime.pulse import start_pulse, stop_pulse
from ostinato.runtime.slots import Slots
from ostinato.runtime.timers import Timers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from ostinato.clock import Clock
    from ostinato.context import Executor
    from ostinato.runtime.runner import Runner
    from ostinato.settings import Settings
    from ostinato.store.store import Store

_log = logging.getLogger("ostinato.internal")
_FLUSH_EVERY = 0.2
_FULL = 10
"""Python's own number of middle collections to a full one."""


@functools.cache
def version() -> str:
    """Return the version of Ostinato that is installed."""
    try:
        return importlib.metadata.version("ostinato")
    except importlib.metadata.PackageNotFoundError:
        return "0+source"


def this_process(worker_id: str, kind: str, now: int) -> Worker:
    """Describe this process as a worker; its lease is the store's to set."""
    pid = os.getpid()
    return Worker(
        id=worker_id,
        kind=kind,
        host=this_host(),
        pid=pid,
        pid_started=process_started(pid),
        version=version(),
        started_at=now,
        expires_at=now,
    )


class Session:
    """What the runs of this process share. Leaving it gives everything back.

    Args:
        settings: What is set.
        kind: What this process is as a worker.
        store: Instead of the one that the settings name.
        guest: The id of the worker on whose lease the runs of this process are: it beats for them, this process
            neither registers nor leaves, and a `store` that it brings along stays open.
        clock: What tells the time; the machine's by default.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        kind: str = "script",
        store: Store | None = None,
        guest: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.is_guest = guest is not None
        self.store = store or store_for(settings)
        self.results = ResultStore(settings.results_url, token=lambda: getattr(self.store, "token", ""))
        self.gates = Gates()
        self.slots = Slots(self.store, self.gates, sweeps=not self.is_guest)
        self.timers = Timers()
        self.lookout = Lookout(self.store)
        self.listener = Listener(self.store)
        self.committer = Committer()
        self.runners: dict[str, Runner] = {}
        self.worker_id = guest or new_id(self.clock.now())
        self.version = version()
        self.cwd = str(Path.cwd())
        self.minded: set[str] = set()
        """Pools of which it is looked, or was, whether anybody serves them."""
        self.interrupted = threading.Event()
        """Set once somebody has pressed Ctrl-C."""
        self.wake_main: Callable[[], None] = lambda: None
        """Wakes the main thread when it waits in C; set while signals are handled."""
        self._kind = kind
        self._keeps_store = guest is not None and store is not None
        self._signals: dict[str, BaseException] = {}
        """What runs are to be stopped with that were to begin."""
        self._executors: dict[Any, Executor] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._keeper: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Register this process as a worker and begin to renew its lease, unless it is a guest."""
        if not self.is_guest:
            self._register()
        self._keeper = threading.Thread(target=self._keep, name="ostinato-keeper", daemon=True)
        self._keeper.start()
        self._collector = _collect_rarely()
        return self

    def _register(self) -> None:
        self.store.register(this_process(self.worker_id, self._kind, self.clock.now()))

    def __exit__(self, *_: object) -> None:
        """Stop what runs, give the lease back, close the store."""
        self._collector()
        self._asked.put(None)
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(timeout=10)
        for executor in self._executors.values():
            executor.close()
        self.lookout.close()
        self.slots.close()
        self.listener.close()
        self.committer.close()
        self.timers.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        if not self.is_guest:
            try:
                self.store.leave(self.worker_id)
            except StoreError as error:
                _log.debug("could not leave: %s", error)
        if not self._keeps_store:
            self.store.close()

    def executor(self, spec: str | Executor | None) -> Executor:
        """Return the executor of that name, started when it is first needed, or the one that is handed in."""
        wanted = spec if spec is not None else self.settings.executor
        found = self._executors.get(wanted)
        if found is None:
            with self._lock:
                found = self._executors.get(wanted)
                if found is None:
                    found = make_executor(wanted, self.settings.slots or None)
                    self._executors[wanted] = found
        return found

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Give up this thread's slot while it waits, in whichever executor the thread belongs to."""
        with ExitStack() as stack:
            for executor in tuple(self._executors.values()):
                stack.enter_context(executor.blocked())
            yield

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """A loop in a thread of its own, for async tasks that a sync flow submits."""
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    self._loop = _start_loop()
        return self._loop

    def announce(self, line: str) -> None:
        """Tell the person who started this process one thing, unless it is to be silent."""
        if self.settings.display != "none":
            write_error(line)

    # --- the runs under way

    def enter(self, runner: Runner) -> None:
        """Take a run among those under way; it is stopped at once if that was asked for before it began."""
        with self._lock:
            self.runners[runner.run.id] = runner
            signal = self._signals.pop(runner.run.id, None)
        if signal is not None:
            runner.stop(signal)

    def stop(self, run_id: str, signal: BaseException) -> None:
        """Stop a run of this session, also one that is only about to begin; from any thread."""
        with self._lock:
            runner = self.runners.get(run_id)
            if runner is None:
                self._signals[run_id] = signal
                return
        runner.stop(signal)

    def forget(self, run_id: str) -> None:
        """Drop what a run that is over was to be stopped with."""
        with self._lock:
            self._signals.pop(run_id, None)

    def ask(self, action: Callable[[], None]) -> None:
        """Have something done on the keeper's thread; safe in a signal handler."""
        self._asked.put(action)

    # --- the keeper: renews the lease, and writes what only rides along

    def _keep(self) -> None:
        next_beat = time.monotonic() + self._beat_every
        last_ok = time.monotonic()
        pulse = None
        while True:
            try:
                action = self._asked.get(timeout=_FLUSH_EVERY)
                if action is None:
                    if pulse is not None:
                        stop_pulse(pulse)
                    return
                action()
            except Empty:
                pass
            except Exception:  # the lease must be renewed whatever else fails
                _log.exception("The keeper failed to do what it was asked.")
            for runner in list(self.runners.values()):
                runner.journal.flush()
                if runner.body.is_unheard:  # it began to wait in C just before the first signal came
                    self.wake_main()
                if self.is_guest and runner.run.pool is not None:
                    runner.still.look(self.settings.suspend_after)
            now = time.monotonic()
            if now >= next_beat and not self.is_guest:
                next_beat = now + self._beat_every
                last_ok = self._beat(last_ok)
                pulse = pulse or start_pulse(self.settings, self.worker_id)

    @property
    def _beat_every(self) -> float:
        return self.settings.lease / 4

    def _beat(self, last_ok: float) -> float:
        try:
            beat = self.store.beat(self.worker_id)
        except StoreError as error:
            silent = time.monotonic() - last_ok
            _log.warning("The lease could not be renewed for %.1f s: %s", silent, error)
            if silent >= self.settings.lease * 2 / 3:
                self._lose(f"the store could not be reached for {silent:.0f} s: {error}")
            return last_ok
        if not beat.alive:
            self._lose("its lease ended while this process was stopped or too busy to renew it")
        for run_id in beat.cancelled:
            runner = self.runners.get(run_id)
            if runner is not None:
                runner.stop(Cancelled("somebody asked to cancel the run"))
        return time.monotonic()

    def _lose(self, why: str) -> None:
        for runner in list(self.runners.values()):
            runner.stop(LeaseLost(why))


def _collect_rarely() -> Callable[[], None]:
    """Make full collections of garbage ten times rarer, unless the user has set them; returns what undoes it.

    With thousands of task runs in flight they took half the time. Young garbage is collected as ever.
    """
    young, middle, old = before = gc.get_threshold()
    if old != _FULL:
        return lambda: None
    ours = (young, middle, 10 * _FULL)
    gc.set_threshold(*ours)
    return lambda: gc.set_threshold(*before) if gc.get_threshold() == ours else None


def _start_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # a sync flow without async tasks need not pay for it

    loops: SimpleQueue[asyncio.AbstractEventLoop] = SimpleQueue()

    def serve() -> None:
        with asyncio.Runner() as runner:  # closes the loop, and cancels what is left on it
            loops.put(runner.get_loop())
            runner.get_loop().run_forever()

    threading.Thread(target=serve, name="ostinato-loop", daemon=True).start()
    return loops.get()


def write_error(text: str) -> None:
    """Write a line for a person to standard error; a display that is open makes room for it."""
    stream = sys.stderr if sys.stderr is not None else sys.__stderr__
    if stream is not None:
        stream.write(text.rstrip("\n") + "\n")
        stream.flush()
