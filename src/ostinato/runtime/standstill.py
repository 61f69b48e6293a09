"""When a run only waits, and for long: the moment in which its process can be given up.

What is under way in a run is its body and what that has *opened*: jobs, maps, async lives. Each either does something
or *rests*, which means that it waits for another part of the run, for another run, or for a later time. When all of it
rests, only what it *awaits* outside can move it on: then the run can come back in another process as well.

```
opened == resting, the body rests, something is awaited ── for suspend_after seconds, nothing moved ──► Suspended
```

Whatever rests asks before it moves again (`rise`), under the same lock under which the decision is made. So there
is no moment in which user code runs and the run is given up. What asyncio tasks do is seen on their loop, between two
of its steps: each must wait in a function of ours (`rests`), or for such a task. What cannot be seen through counts as
work, and so do threads that the body has started: then the run keeps its process.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ostinato.clock import SECOND
from ostinato.context import find_frame
from ostinato.future import Future, MapResults
from ostinato.handle import RunHandle
from ostinato.outcomes import Suspended
from ostinato.records import Wait
from ostinato.runtime.attempt import attempt_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

    from ostinato.runtime.runner import Runner

    F = TypeVar("F", bound=Callable[..., Any])

_SOON = 1 * SECOND
"""What is due within this time is waited for in the process."""

_resting: set[CodeType] = {
    Future.__await__.__code__,
    MapResults.__await__.__code__,
    RunHandle.__await__.__code__,
    *(method.__code__ for name in ("__aexit__", "_aexit") if (method := getattr(asyncio.TaskGroup, name, None))),
}


def rests(function: F) -> F:
    """Declare that who waits in this coroutine function itself waits for another part of the run, or is noted."""
    _resting.add(function.__code__)
    return function


class Standstill:
    """Sees whether a run, with the child runs that it carries out inline, does nothing but wait."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that the body runs on, if it is async."""
        self.signal: Suspended | None = None
        """What everything is stopped with, once it is decided."""
        self._lock = threading.Lock()
        self._body_rests = False
        self._resting = 0
        self._moves = 0
        self._numbers = itertools.count()
        self._awaited: dict[int, tuple[Runner, Wait]] = {}
        self._decided: list[tuple[Runner, Wait]] = []
        self._runners: list[Runner] = []
        self._thread = threading.get_ident()
        self._threads_before = set(threading.enumerate())
        self._since: float | None = None
        self._seen = (0, 0)

    # --- told by whoever waits

    def join(self, runner: Runner) -> None:
        """Look at this run too."""
        with self._lock:
            self._runners.append(runner)

    def part(self, runner: Runner) -> None:
        """Look at this run no longer."""
        with self._lock:
            self._runners.remove(runner)

    def rest(self) -> None:
        """Say that something that was opened begins to wait."""
        with self._lock:
            self._resting += 1
            self._moves += 1

    def rise(self) -> bool:
        """Ask whether something that waited may go on; False when the run is being suspended."""
        with self._lock:
            if self.signal is not None:
                return False
            self._resting -= 1
            self._moves += 1
            return True

    @contextmanager
    def body(self) -> Iterator[None]:
        """Rest with the body, if this is where it runs.

        Raises:
            Suspended: When the run is being suspended.
        """
        frame = find_frame()
        if frame is None or frame.seq is not None or self.loop is not None or self._thread != threading.get_ident():
            yield
            return
        self._body_rests = True
        try:
            yield
        finally:
            with self._lock:
                self._body_rests = False
                self._moves += 1
        if self.signal is not None:
            raise self.signal

    def await_(
        self, runner: Runner, kind: str, *, key: str | None, seq: int | None, due_at: int | None, after: int = 0
    ) -> int:
        """Note that something outside is waited for; returns what `got` takes."""
        now = runner.clock.now()
        wait = Wait(run_id=runner.run.id, n=0, kind=kind, key=key, seq=seq, due_at=due_at, created_at=now, after=after)
        with self._lock:
            number = next(self._numbers)
            self._awaited[number] = (runner, wait)
            self._moves += 1
        return number

    def got(self, number: int) -> None:
        """Note that it is not waited for any more."""
        with self._lock:
            self._awaited.pop(number, None)
            self._moves += 1

    @contextmanager
    def awaiting(
        self,
        runner: Runner,
        kind: str,
        *,
        key: str | None = None,
        seq: int | None = None,
        due_at: int | None = None,
        after: int = 0,
    ) -> Iterator[None]:
        """Note what is waited for while the context lasts."""
        number = self.await_(runner, kind, key=key, seq=seq, due_at=due_at, after=after)
        try:
            yield
        finally:
            self.got(number)

    def waits(self, runner: Runner) -> list[Wait]:
        """Return what was waited for when it was decided, for the run or a child run in it: both wait for all of it."""
        seen: dict[Any, Wait] = {}
        for owner, wait in self._decided:
            is_slot = wait.kind == "slot"  # its key is the run that it is for
            seq = wait.seq if owner is runner or is_slot else None
            kept = msgspec.structs.replace(wait, run_id=runner.run.id, seq=seq, n=len(seen))
            seen.setdefault((wait.kind, wait.key, wait.due_at, wait.after, wait.seq if is_slot else None), kept)
        return list(seen.values())

    # --- told by the keeper

    def look(self, suspend_after: float) -> None:
        """Look, every now and then, whether the run stands still, and suspend it when that has lasted; never waits."""
        if not self._awaited:
            self._since = None
        elif self.loop is None:
            self._judge(suspend_after, on_loop=False)
        else:
            try:
                self.loop.call_soon_threadsafe(self._judge, suspend_after)
            except RuntimeError:  # it is closed: the body has ended
                self._since = None

    def _judge(self, suspend_after: float, *, on_loop: bool = True) -> None:
        with self._lock:
            if self.signal is not None:
                return
            now = time.monotonic()
            seen = (self._moves, sum(runner.begun for runner in self._runners))
            if not self._stands_still() or (on_loop and not _loop_rests(self.loop)):
                self._since = None
                return
            if self._since is None or seen != self._seen:
                self._since, self._seen = now, seen
            if now - self._since < suspend_after or not self._is_worth_it(suspend_after):
                return
            stopped = self._decide()
        for runner, signal in stopped:
            runner.spread(signal)

    def _stands_still(self) -> bool:
        if not self._awaited or not (self._body_rests or self.loop is not None):
            return False
        opened = sum(runner.outstanding.opened_now for runner in self._runners)
        return opened == self._resting and not self._has_threads()

    def _has_threads(self) -> bool:
        """Tell whether the body has started threads that still run."""
        return any(
            thread not in self._threads_before and not thread.name.startswith("ostinato")
            for thread in threading.enumerate()
        )

    def _is_worth_it(self, suspend_after: float) -> bool:
        due = [wait.due_at for _, wait in self._awaited.values() if wait.due_at is not None]
        soon = min(_SOON, round(suspend_after * SECOND))
        return not due or min(due) - self._runners[0].clock.now() > soon

    def _decide(self) -> list[tuple[Runner, Suspended]]:
        signal = Suspended("it waits without a process until what it waits for has happened")
        if not self._runners[0].outstanding.claim(signal):
            return []
        self._decided = list(self._awaited.values())
        self.signal = signal
        return [(self._runners[0], signal)]


def _loop_rests(loop: Any) -> bool:
    """Tell, on the loop itself, whether all its tasks rest, and nothing is due there."""
    scheduled = getattr(loop, "_scheduled", None)
    if scheduled is None or any(not handle.cancelled() for handle in scheduled):
        return False
    if any(getattr(handle._callback, "__name__", "") != "_read_from_self" for handle in loop._ready):  # noqa: SLF001  # our own wake-up
        return False
    return all(_task_rests(task) for task in asyncio.all_tasks(loop))


def _task_rests(task: Any) -> bool:
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is None or waiter.done():
        return False
    chain = _chain(task.get_coro())
    if attempt_async.__code__ in chain:
        return False  # a task of the user's is under way: what it has done already would be done again
    if isinstance(waiter, asyncio.Task):
        return True  # which is looked at itself
    if type(waiter).__name__ == "_GatheringFuture":
        return all(isinstance(child, asyncio.Task) or child.done() for child in waiter._children)  # noqa: SLF001
    return bool(chain) and chain[-1] in _resting


def _chain(coroutine: Any) -> list[CodeType]:
    """Return the code of the functions, ours and the user's, in which a coroutine waits, the innermost last."""
    chain = []
    while coroutine is not None:
        found = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        if found is None:
            break
        chain.append(found)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return chain
