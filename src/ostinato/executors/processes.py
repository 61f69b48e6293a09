"""Run work in other processes: for work that must be stoppable for certain, may crash, or needs the CPU.

Each piece of work that runs has one child process (`ostinato.executors.process`) and one thread of a
`ThreadExecutor` here that talks to it. Children are started when needed, kept warm, and started with the
environment, directory and `sys.path` of that moment.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ostinato.clock import Clock, SystemClock
from ostinato.context import Ended
from ostinato.errors import OutOfMemory, ResultError, UsageError
from ostinato.executors.channel import ENDED, FAILED, NOTE, WORK, dump_code, load
from ostinato.executors.failures import caused, rebuild, refuse_to_send
from ostinato.executors.memory import MemoryWatch
from ostinato.executors.process import Process
from ostinato.executors.stopping import ClosedSignal, shield
from ostinato.executors.thread_work import ThreadWork, describe
from ostinato.executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Note

logger = logging.getLogger("ostinato.executors")

_NOTHING = nullcontext()
_MIB = 1 << 20


class ProcessExecutor:
    """A pool of child processes, started when needed, whose work can be killed."""

    name = "processes"
    isolated = True

    def __init__(self, slots: int | None = None, *, clock: Clock | None = None) -> None:
        """Make the pool; no process is started yet.

        Args:
            slots: How many processes at most; by default one per processor.
            clock: Tells when work ended that could not say so itself.
        """
        self.slots = slots or os.cpu_count() or 1
        self.clock = clock or SystemClock()
        self._talkers = ThreadExecutor(self.slots, clock=self.clock)
        self._lock = threading.Lock()
        self._idle: list[Process] = []
        self._processes: set[Process] = set()
        self._works: set[_Work] = set()
        self._closed = False
        self.memory = MemoryWatch()

    def submit(
        self, work: Callable[[], Ended], done: Callable[[Ended], None], note: Callable[[Note], None] | None = None
    ) -> _Work:
        """Pickle `work`, run it in a process when there is a slot, then call `done` from a thread here.

        Work that cannot be pickled or loaded there ends with a `UsageError`, a result that cannot with a
        `ResultError`. Work that is stopped before it began has its `done` called by whoever stops it.

        Raises:
            UsageError: The executor is closed.
        """
        handle = _Work(self, work, done, note)
        with self._lock:
            if not self._closed:
                self._works.add(handle)
                handle.waiting = self._talkers.submit(handle.perform, handle.tell)
                return handle
        message = "This executor is closed and takes no more work. Make a new one."
        raise UsageError(message)

    def blocked(self) -> AbstractContextManager[object]:
        """Do nothing: work in another process waits for nobody here."""
        return _NOTHING

    def close(self) -> None:
        """Kill what runs, drop what waits, and let the idle processes end. Idempotent."""
        with self._lock:
            self._closed = True
            works = list(self._works)
        for work in works:
            work.stop(ClosedSignal(f"the executor {self.name!r} was closed"))
        self._talkers.close()
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.hang_up()
        deadline = time.monotonic() + 1
        for process in processes:
            if not process.wait(max(0, deadline - time.monotonic())):
                process.kill()
                process.wait(1)

    def take(self) -> Process:
        """Return an idle process, the one used last, or a new one."""
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                process.close()
        process = Process(self._bury)
        with self._lock:
            if process.is_alive:
                self._processes.add(process)
        return process

    def give_back(self, process: Process) -> None:
        """Keep a process that is free for later work."""
        with self._lock:
            if process.is_alive:
                self._idle.append(process)
            else:
                process.close()

    def forget(self, work: _Work) -> None:
        """Drop work that has ended."""
        with self._lock:
            self._works.discard(work)

    def _bury(self, process: Process) -> None:
        with self._lock:
            self._processes.discard(process)
            if process in self._idle:
                self._idle.remove(process)
                process.close()


class _Work:
    """One piece of submitted work: its Handle, and the talk with the process that runs it."""

    def __init__(
        self,
        pool: ProcessExecutor,
        work: Callable[[], Ended],
        done: Callable[[Ended], None],
        note: Callable[[Note], None] | None,
    ) -> None:
        self.waiting: ThreadWork | None = None
        self._pool = pool
        self._work = work
        self._done = done
        self._note = note
        self._lock = threading.Lock()
        self._signal: BaseException | None = None
        self._process: Process | None = None
        self._is_over = False
        self._limit: int | None = getattr(work, "memory", None)

    def stop(self, signal: BaseException) -> None:
        """Drop the work if it waits, else kill its process. The first signal counts."""
        with self._lock:
            if self._is_over or self._signal is not None:
                return
            self._signal = signal
            if self._process is not None:
                self._process.kill()
        if self.waiting is not None:
            self.waiting.drop(signal)

    def tell(self, ended: Ended) -> None:
        """Say how it ended."""
        self._pool.forget(self)
        self._done(ended)

    def perform(self) -> Ended:
        """Run the work in a process. Runs in a thread of the pool."""
        with shield():  # closing the pool kills the process; nothing may tear this apart
            started_at = self._pool.clock.now()
            try:
                data = dump_code(self._work)
            except Exception as error:
                return self._ended(started_at, refuse_to_send(self._work, error))
            if self._signal is not None:
                return self._ended(started_at, self._signal)
            try:
                return self._talk(data, started_at)
            except OSError as error:
                message = f"A process for {describe(self._work)} could not be started: {error}"
                return self._ended(started_at, lost=message)

    def _talk(self, data: bytes, started_at: int) -> Ended:
        process = self._pool.take()
        with self._lock:
            self._process = process
            if self._signal is not None:
                process.kill()
        unwatch = self._watch_memory(process)
        answer = self._ask(process, data)
        unwatch()
        with self._lock:  # from here on `stop` comes too late
            self._is_over, self._process = True, None
        if answer is None or self._signal is not None:
            process.close()
        else:
            self._pool.give_back(process)
        if answer is not None:
            return self._read(*answer, started_at)
        if self._signal is not None:
            return self._ended(started_at, self._signal)
        return self._ended(started_at, lost=process.explain())

    def _watch_memory(self, process: Process) -> Callable[[], None]:
        limit = self._limit
        if limit is None:
            return lambda: None

        def over(taken: int) -> None:
            name = describe(self._work)
            self.stop(
                OutOfMemory(
                    f"{name} was ended because its process took {taken / _MIB:,.0f} MiB of memory; its Resources allow "
                    f"{limit / _MIB:,.0f} MiB. Give it more, or let it try again with more: "
                    "Retry(1, on=OutOfMemory, memory=2)."
                )
            )

        return self._pool.memory.watch(process.id, limit, over)

    def _ask(self, process: Process, data: bytes) -> tuple[int, bytes | bytearray] | None:
        """Send the work and wait for how it ended; None if the process died."""
        try:
            process.channel.send(WORK, data)
            while True:
                kind, answer = process.channel.receive()
                if kind != NOTE:
                    return kind, answer
                self._hear(answer)
        except (EOFError, OSError):
            return None

    def _hear(self, data: bytes | bytearray) -> None:
        if self._note is None:
            return
        try:
            self._note(load(data))
        except Exception:
            logger.exception("What %s said while it ran was lost.", describe(self._work))

    def _read(self, kind: int, data: bytes | bytearray, started_at: int) -> Ended:
        try:
            if kind == ENDED:
                ended: Ended = load(data)
                return ended
            if kind == FAILED:
                return rebuild(load(data))
        except Exception as error:
            message = (
                f"The result of {describe(self._work)} cannot be rebuilt in this process: "
                f"{type(error).__name__}: {error} Return plain data or a path to it."
            )
            return self._ended(started_at, ResultError(message))
        summary, text = load(data)
        message = (
            f"{describe(self._work)} could not be loaded in another process: {summary} "
            "What it uses must be importable there, or be defined in the file that is run."
        )
        return self._ended(started_at, caused(UsageError(message), text))

    def _ended(self, started_at: int, error: BaseException | None = None, lost: str | None = None) -> Ended:
        return Ended(error=error, lost=lost, started_at=started_at, finished_at=self._pool.clock.now())
