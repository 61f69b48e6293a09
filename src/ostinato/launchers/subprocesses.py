"""Runs in processes of this machine: started ahead, warm with the project imported, used again, and watched.

```
launch ─► an idle process of that place? ──yes──► the order is written to it, at once
             │ no                                      │
             ▼                                         ▼ Done
          pending ─► a process is started ─► Ready ─► idle again ─► the next one that is pending
```

One thread does the rest: it hears what processes say, notices deaths, starts and kills, and measures memory. A
process is not used again when it has served `Terms.runs_each` runs, has grown, holds threads or children that
user code left behind, or was started before the last `reload`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ostinato.launchers.cgroup import find_cgroups
from ostinato.launchers.ends import count_ooms, over_limit
from ostinato.launchers.line import Cancel, Done, Ready
from ostinato.launchers.run_process import Place, RunProcess
from ostinato.launchers.tree import memory_of, resident
from ostinato.work import ProcessEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.launchers.job import Job
    from ostinato.launchers.terms import Terms

_log = logging.getLogger("ostinato.worker")
_TICK = 0.2
_UPKEEP = 5.0
_KEPT = 60.0
"""Seconds for which more processes than `Terms.warm` stay idle."""
_BROKEN = 10.0
"""Seconds for which no process is started ahead where one has died while it started."""


class SubprocessLauncher:
    """Carries out runs in processes of this machine."""

    def __init__(self, terms: Terms, done: Callable[[Job, ProcessEnd | None], None]) -> None:
        """Begin; processes for known places are started by `prepare`.

        Args:
            terms: How runs get their processes.
            done: Called, from the launcher's thread, when a run's process is through with it; with None where the run
                has ended or suspended itself, else with what is known. Must be quick.
        """
        self._terms, self._done = terms, done
        self._cgroups = find_cgroups()
        self._lock = threading.Lock()
        self._pending: deque[Job] = deque()
        self._processes: set[RunProcess] = set()
        self._idle: dict[Any, list[RunProcess]] = {}
        self._places: dict[Any, Place] = {}
        self._broken: dict[Any, float] = {}
        self._acts: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._read, self._written = socket.socketpair()
        self._read.setblocking(False)  # noqa: FBT003  # positional only
        self._written.setblocking(False)  # noqa: FBT003  # positional only
        self._selector.register(self._read, selectors.EVENT_READ)
        self._closed = False
        self._ooms = count_ooms()
        """As it was some seconds ago."""
        self._next_look = 0.0
        self._next_upkeep = time.monotonic() + _UPKEEP
        self._thread = threading.Thread(target=self._serve, name="ostinato-launcher", daemon=True)
        self._thread.start()

    def launch(self, job: Job) -> None:
        """Carry out a run: at once where a process is idle, else as soon as one is."""
        with self._lock:
            process = None if job.cold else self._take_idle(job.place)
            if process is None:
                self._pending.append(job)
            elif not self._hand_over(process, job):
                self._pending.appendleft(job)
                process = None
        if process is None or job.limit is not None:
            self._ask(self._start_what_is_needed)

    def prepare(self, place: Place) -> None:
        """Keep processes of a place ready."""
        with self._lock:
            self._places[place.key] = place
        self._ask(self._start_what_is_needed)

    def reload(self) -> None:
        """Use no process any more that has imported what was there before: idle ones go, busy ones finish."""
        self._ask(self._reload)

    def cancel(self, run_id: str) -> None:
        """Have a run stopped: it is told, and killed if it does not listen. Asking twice is harmless."""
        self._ask(lambda: self._cancel(run_id))

    def kill(self, ending: ProcessEnd) -> None:
        """End all runs now, for one reason; those not begun too."""
        self._ask(lambda: self._kill_all(ending))

    def say_alive(self) -> None:
        """Tell the processes that are at work that their worker holds its lease."""
        with self._lock:
            busy = [process for process in self._processes if process.job is not None]
        for process in busy:
            process.say_alive()

    def close(self) -> None:
        """Kill what there is and stop. `done` is not called any more."""
        self._closed = True
        self._ask(lambda: None)
        self._thread.join(timeout=30)

    @property
    def process_ids(self) -> list[int]:
        """The run processes there are."""
        with self._lock:
            return [process.pid for process in self._processes]

    # --- under the lock

    def _take_idle(self, place: Place) -> RunProcess | None:
        idle = self._idle.get(place.key)
        while idle:
            process = idle.pop()
            if not process.retired:
                return process
        return None

    def _hand_over(self, process: RunProcess, job: Job) -> bool:
        process.job, job.ooms = job, self._ooms
        if job.cold:
            process.retired = True
        process.hold_to(job.limit)
        try:
            process.line.send(job.order)
        except OSError:
            process.job, process.retired = None, True
            self._ask(lambda: self._end([process]))
            return False
        return True

    # --- on the launcher's thread

    def _ask(self, act: Callable[[], None]) -> None:
        self._acts.put(act)
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody is there any more
            self._written.send(b"!")

    def _serve(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._do_what_was_asked()
                elif key.data in self._processes:
                    self._hear(key.data, key.fileobj)
            self._guarded(self._tick)
        for process in tuple(self._processes):
            process.kill()
            self._bury(process)
        self._selector.close()
        self._read.close()
        self._written.close()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:  # whatever one process does, the others are served
            _log.exception("The launcher failed at one thing and goes on.")

    def _patience(self) -> float:
        with self._lock:
            watched = any(process.job is not None and _is_watched(process.job) for process in self._processes)
        return _TICK if watched else max(0.0, self._next_upkeep - time.monotonic())

    def _do_what_was_asked(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._read.recv(4096)
        with contextlib.suppress(Empty):
            while True:
                self._guarded(self._acts.get_nowait())

    def _hear(self, process: RunProcess, file: Any) -> None:
        try:
            self._listen(process, file)
        except Exception:  # what it says makes no sense, or we fail at it: its run must not hang on that
            _log.exception("Process %d is ended: the launcher failed at hearing it.", process.pid)
            self._end([process])

    def _listen(self, process: RunProcess, file: Any) -> None:
        if file == process.death:
            self._mourn(process)
            return
        try:
            messages = process.line.read()
        except EOFError:
            self._selector.unregister(process.line)
            if not process.dies(0.5):
                process.hung_up = True
                process.kill()
            self._mourn(process)
            return
        for message in messages:
            if isinstance(message, Ready):
                self._is_ready(process, message)
            elif isinstance(message, Done):
                self._is_done(process, message)

    def _is_ready(self, process: RunProcess, ready: Ready) -> None:
        _log.debug("Process %d is ready after %.2f s.", process.pid, ready.seconds)
        for target, why in ready.broken.items():
            if self._terms.tells_broken:
                _log.warning("%s cannot be imported, its runs will fail: %s", target, why)
        process.is_ready = True
        self._broken.pop(process.place.key, None)
        self._offer(process)
        self._start_what_is_needed()

    def _is_done(self, process: RunProcess, done: Done) -> None:
        with self._lock:
            job, process.job = process.job, None
            process.runs += 1
            process.free_since = time.monotonic()
            process.first_memory = process.first_memory or done.memory
        why = _why_not_again(process, done, self._terms)
        if why:
            _log.info("Process %d is not used again: %s.", process.pid, why)
            process.retired = True
        self._offer(process)
        if job is None:
            return
        if done.outcome == "stale":
            with self._lock:
                self._pending.appendleft(job)
            self._start_what_is_needed()
            return
        self._tell(job, _ending_of(done))

    def _offer(self, process: RunProcess) -> None:
        """Give a free process its next run, or keep it for one, or end it."""
        with self._lock:
            while not process.retired:
                job = next((job for job in self._pending if job.place.key == process.place.key and not job.cold), None)
                if job is None:
                    self._idle.setdefault(process.place.key, []).append(process)
                    return
                self._pending.remove(job)
                if self._hand_over(process, job):
                    return
                self._pending.appendleft(job)
        process.kill()
        self._start_what_is_needed()

    def _mourn(self, process: RunProcess) -> None:
        job = process.job
        try:
            code = self._bury(process)
            ending = process.explain(code)
        except Exception as error:  # its run must hear of its end whatever there is to say of it
            _log.exception("How process %d has ended could not be found out.", process.pid)
            code, ending = -1, ProcessEnd(reason="exited", message=f"its process is gone; nobody knows how: {error}")
        if job is not None:
            self._tell(job, job.verdict or ending)
        elif not process.is_ready and not process.retired:
            self._tell_stillborn(process, code)
        self._start_what_is_needed()

    def _bury(self, process: RunProcess) -> int:
        for file in (process.line, process.death):
            if file is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(file)
        with self._lock:
            self._processes.discard(process)
            idle = self._idle.get(process.place.key, [])
            if process in idle:
                idle.remove(process)
        return process.bury()

    def _tell_stillborn(self, process: RunProcess, code: int) -> None:
        """A process died while it started: the first run that waits for one pays for it."""
        key = process.place.key
        self._broken[key] = time.monotonic()
        how = process.explain(code).message
        message = f"no process could be started in {process.place.root}, its output is the worker's: {how}"
        _log.warning("%s", message)
        with self._lock:
            job = next((job for job in self._pending if job.place.key == key), None)
            if job is not None:
                self._pending.remove(job)
        if job is not None:
            self._tell(job, ProcessEnd(reason="unstartable", message=message, exit_code=code))

    def _tell(self, job: Job, ending: ProcessEnd | None) -> None:
        self._guarded(lambda: self._done(job, ending))

    # --- starting

    def _start_what_is_needed(self) -> None:
        while not self._closed and (place := self._place_in_need()) is not None:
            try:
                self._start(place)
            except OSError as error:
                self._broken[place.key] = time.monotonic()
                self._refuse_pending(place, error)

    def _place_in_need(self) -> Place | None:
        with self._lock:
            self._serve_pending_cold()
            starting: dict[Any, int] = {}
            for process in self._processes:
                if not process.is_ready and process.job is None and not process.retired:
                    starting[process.place.key] = starting.get(process.place.key, 0) + 1
            if sum(starting.values()) >= max(2, os.cpu_count() or 1):
                return None
            for job in self._pending:
                key = job.place.key
                starting[key] = starting.get(key, 0) - 1
                if starting[key] < 0:
                    return job.place
            return next((place for key, place in self._places.items() if self._is_short(key, starting)), None)

    def _serve_pending_cold(self) -> None:
        """Give cold runs the processes that have run nothing yet."""
        for job in [job for job in self._pending if job.cold]:
            fresh = next((p for p in self._idle.get(job.place.key, ()) if p.runs == 0 and not p.retired), None)
            if fresh is not None:
                self._idle[job.place.key].remove(fresh)
                self._pending.remove(job)
                if not self._hand_over(fresh, job):
                    self._pending.appendleft(job)

    def _is_short(self, key: Any, starting: dict[Any, int]) -> bool:
        if time.monotonic() - self._broken.get(key, -_BROKEN) < _BROKEN:
            return False
        all_of = sum(1 for process in self._processes if process.place.key == key and not process.retired)
        ready = len(self._idle.get(key, ())) + max(0, starting.get(key, 0))
        return ready < self._terms.warm and all_of < self._terms.slots

    def _start(self, place: Place) -> None:
        process = RunProcess(place, self._terms.settings, silence=self._terms.silence, cgroups=self._cgroups)
        with self._lock:
            self._processes.add(process)
        self._selector.register(process.line, selectors.EVENT_READ, process)
        if process.death is not None:
            self._selector.register(process.death, selectors.EVENT_READ, process)

    def _refuse_pending(self, place: Place, error: OSError) -> None:
        with self._lock:
            refused = [job for job in self._pending if job.place.key == place.key]
            for job in refused:
                self._pending.remove(job)
        message = f"no process could be started in {place.root} with {place.python}: {error}"
        _log.warning("%s", message)
        for job in refused:
            self._tell(job, ProcessEnd(reason="unstartable", message=message))

    # --- ending

    def _reload(self) -> None:
        with self._lock:
            for process in self._processes:
                process.retired = True
            idle = [process for process in self._processes if process.job is None]
        self._end(idle)
        self._broken.clear()
        self._start_what_is_needed()

    def _cancel(self, run_id: str) -> None:
        with self._lock:
            waiting = next((job for job in self._pending if job.run_id == run_id), None)
            if waiting is not None:
                self._pending.remove(waiting)
            process = next((p for p in self._processes if p.job is not None and p.job.run_id == run_id), None)
        if waiting is not None:
            self._tell(waiting, ProcessEnd(reason="killed", message="it was cancelled before it had begun"))
        if process is None or process.job is None or process.job.kill_at is not None:
            return
        process.job.kill_at = time.monotonic() + self._terms.grace
        with contextlib.suppress(OSError):
            process.line.send(Cancel(run_id))

    def _kill_all(self, ending: ProcessEnd) -> None:
        with self._lock:
            waiting = list(self._pending)
            self._pending.clear()
            processes = list(self._processes)
            for process in processes:
                process.retired = True
                if process.job is not None:
                    process.job.verdict = process.job.verdict or ending
        self._end(processes)
        for job in waiting:
            self._tell(job, ending)

    # --- watching

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _TICK / 2
        for process in tuple(self._processes):
            job = process.job
            if job is not None and job.verdict is None:
                verdict = self._judge(process, job, now)
                if verdict is not None:
                    job.verdict = verdict
                    process.kill()
        if now >= self._next_upkeep:
            self._next_upkeep = now + _UPKEEP
            self._ooms = count_ooms()
            self._trim(now)
            self._start_what_is_needed()

    def _judge(self, process: RunProcess, job: Job, now: float) -> ProcessEnd | None:
        if job.kill_at is not None and now >= job.kill_at:
            message = f"it was cancelled, did not stop within {self._terms.grace:g} s and was killed"
            return ProcessEnd(reason="killed", message=message, peak_memory=job.peak or None)
        if job.limit is None:
            return None
        size = memory_of(process.pid, job.limit)
        job.peak = max(job.peak, size)
        return over_limit(size, job.limit) if size > job.limit else None

    def _trim(self, now: float) -> None:
        """End idle processes beyond those that are to be kept warm."""
        with self._lock:
            spare = [
                process
                for key, idle in self._idle.items()
                for process in idle[: len(idle) - (self._terms.warm if key in self._places else 0)]
                if now - process.free_since > _KEPT
            ]
            for process in spare:
                process.retired = True
        self._end(spare)

    def _end(self, processes: Sequence[RunProcess]) -> None:
        for process in processes:
            if process in self._processes:
                process.kill()


def _is_watched(job: Job) -> bool:
    return job.limit is not None or job.kill_at is not None


def _why_not_again(process: RunProcess, done: Done, terms: Terms) -> str:
    """Say why a process is not used again; empty if it is."""
    if done.left:
        return f"run {done.run_id} left behind {', '.join(done.left[:5])}"
    if done.outcome == "stale":
        return done.message
    if done.outcome == "lost":
        return f"run {done.run_id} was lost in it"
    if process.runs >= terms.runs_each:
        return f"it has served {process.runs} runs"
    size = done.memory or resident(process.pid)
    if size > 1.5 * process.first_memory + terms.growth:
        return f"it has grown from {process.first_memory >> 20} to {size >> 20} MiB"
    return ""


def _ending_of(done: Done) -> ProcessEnd | None:
    if done.outcome == "ended":
        return None
    reason = "unloadable" if done.outcome == "unloadable" else "exited"
    return ProcessEnd(reason=reason, message=done.message)
