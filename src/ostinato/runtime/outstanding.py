"""What a run has begun and must see the end of: jobs, asyncio tasks, maps. Leaving the run awaits or stops them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from ostinato.outcomes import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.runtime.job import Job

    Stopper = Callable[[BaseException], None]


class Outstanding:
    """What is open in one pass of a run."""

    def __init__(self) -> None:
        self.signal: BaseException | None = None
        """What everything is being stopped with, if it is."""
        self._lock = threading.Lock()
        self._open = 0
        self._idle: list[Callable[[Any], None]] = []
        self._jobs: set[Job] = set()
        self._tasks: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()
        self._stoppers: set[Stopper] = set()

    def opened(self) -> None:
        """Count one more thing to wait for."""
        with self._lock:
            self._open += 1

    def closed(self) -> None:
        """Count one less; wake who waits for the last."""
        with self._lock:
            self._open -= 1
            if self._open:
                return
            idle, self._idle = self._idle, []
        for callback in idle:
            callback(None)

    def when_idle(self, callback: Callable[[Any], None]) -> None:
        """Call back once nothing is open, at once if nothing is; from any thread."""
        with self._lock:
            if self._open:
                self._idle.append(callback)
                return
        callback(None)

    @property
    def opened_now(self) -> int:
        """How much is open."""
        return self._open

    @property
    def is_idle(self) -> bool:
        """Nothing is open."""
        return self._open == 0

    def add_job(self, job: Job) -> None:
        """Stop this job when all is stopped."""
        with self._lock:
            self._jobs.add(job)

    def drop_job(self, job: Job) -> None:
        """Forget a job that has ended."""
        with self._lock:
            self._jobs.discard(job)

    def adopt(self) -> Callable[[], None]:
        """Cancel the running asyncio task when all is stopped; returns what ends that."""
        current = asyncio.current_task()
        assert current is not None
        entry = (asyncio.get_running_loop(), current)
        with self._lock:
            self._tasks.add(entry)
            is_stopped = self.signal is not None
        if is_stopped:
            current.cancel()
        return lambda: self._tasks.discard(entry)

    def on_stop(self, stopper: Stopper) -> Callable[[], None]:
        """Call `stopper` when all is stopped, at once if it is; returns what ends that."""
        with self._lock:
            self._stoppers.add(stopper)
            signal = self.signal
        if signal is not None:
            stopper(signal)
        return lambda: self._stoppers.discard(stopper)

    def claim(self, signal: BaseException) -> bool:
        """Let nothing more begin; False when it was stopped before: the first signal counts."""
        with self._lock:
            if self.signal is not None:
                return False
            self.signal = signal
            return True

    def spread(self, signal: BaseException) -> None:
        """Stop what is open with the signal that was claimed."""
        with self._lock:
            jobs, tasks, stoppers = list(self._jobs), list(self._tasks), list(self._stoppers)
        for stopper in stoppers:
            stopper(signal)
        for job in jobs:
            job.stop(signal)
        for loop, task in tasks:
            loop.call_soon_threadsafe(task.cancel)

    def drop_waiting(self) -> None:
        """Stop the jobs that have not begun; what runs may end."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            if job.call.row.started_at is None:
                job.stop(Cancelled("the run failed before it began"))
