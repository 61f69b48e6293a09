"""Three drivers of one life: they carry out what `ostinato.engine.lifecycle.live` commands.

`drive_here` blocks the calling thread; `drive_async` awaits; a `Job` goes on by callbacks and holds no thread while
it waits for a commit, a slot or the time of its next attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ostinato.engine.lifecycle import Acquire, Execute, Lookup, Pause, Release, Save
from ostinato.executors.stopping import shield
from ostinato.future import find_loop, wake_on
from ostinato.outcomes import Cancelled, Stop, TimedOut, Withdrawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Ended, Handle
    from ostinato.future import Settled
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.timers import Timer


def drive_here(runner: Runner, call: Call) -> Settled:
    """Live a life in this thread."""
    life = call.life
    answer: Any = None
    error: BaseException | None = None
    command: Any = None
    while True:
        late: Stop | None = None
        try:
            with shield():  # a signal must not tear what the life decides
                command = life.send(answer) if error is None else life.throw(error)
        except StopIteration as end:
            settled: Settled = end.value
            return settled
        except Stop as signal:
            if inspect.getgeneratorstate(life) == inspect.GEN_CLOSED:
                raise
            late = signal  # it waited: what has been decided is saved first
        answer = error = None
        try:
            if late is None or type(command) in (Save, Release):
                answer = _perform_here(runner, call, command)
            if late is not None:
                raise late  # noqa: TRY301
        except BaseException as raised:  # the life decides what comes of it
            error = raised


def _perform_here(runner: Runner, call: Call, command: Any) -> Any:
    kind = type(command)
    if kind is Execute:
        if runner.runs_here(call):
            with shield():
                runner.begin_attempt(call, command.row)
            ended = runner.attempt(call)
            with shield():
                return runner.recorder.result(call, ended)
        ended = _elsewhere(runner, call, command)
        with shield():
            return runner.recorder.result(call, ended)
    if kind is Save:
        with shield():
            runner.journal.save(command.entries)
            runner.saved(call, command)
        return None
    if kind is Pause:
        runner.pause(command.seconds)
        return None
    if kind is Acquire:
        _enter_here(runner, command)
        return None
    return perform_at_once(runner, command)


def perform_at_once(runner: Runner, command: Any) -> Any:
    """Carry out a command that never waits."""
    if type(command) is Lookup:
        return runner.recorder.cached(command.key)
    if type(command) is Release:
        for name, _ in command.gates:
            runner.session.gates.leave(name)
        return None
    message = f"No driver knows how to {type(command).__name__}."
    raise AssertionError(message)


def _elsewhere(runner: Runner, call: Call, command: Execute) -> Ended:
    """Have the executor run the attempt while this thread waits, its own slot given up meanwhile."""
    ended: list[Ended] = []
    event, over = threading.Event(), threading.Event()  # a signal to this thread sets the first one too

    def done(how: Ended) -> None:
        ended.append(how)
        over.set()
        event.set()

    handle = timer = None
    try:
        # inline it runs right here, where a stop must reach it; elsewhere no stop may come before there is a handle
        with nullcontext() if runner.executor_of(call).name == "inline" else shield():
            handle, timer = start_attempt(runner, call, command, done)
        while not over.is_set():
            runner.wait(event, None)
    except BaseException as signal:
        if handle is None:
            raise
        handle.stop(signal if isinstance(signal, Stop) else Cancelled("its caller was stopped"))
        over.wait()
        if not isinstance(signal, Stop):
            raise
    finally:
        if timer is not None:
            timer.cancel()
    return ended[0]


def start_attempt(
    runner: Runner, call: Call, command: Execute, done: Callable[[Ended], None]
) -> tuple[Handle, Timer | None]:
    """Hand one attempt to its executor, with a timer where it has a timeout."""
    runner.begin_attempt(call, command.row)
    handle = runner.submit_attempt(call, done)
    timeout = call.options.timeout
    if timeout is None:
        return handle, None
    message = f"{call.row.task} ran longer than its timeout of {timeout} s and was stopped."
    return handle, runner.session.timers.later(timeout, lambda: handle.stop(TimedOut(message)))


def _enter_here(runner: Runner, command: Acquire) -> None:
    gates = runner.session.gates
    entered: list[str] = []
    try:
        for name, slots in command.gates:
            event = threading.Event()
            if not gates.enter(name, slots, event.set):
                _stand_in_line(runner, name, event)
            entered.append(name)
    except BaseException:
        for name in entered:
            gates.leave(name)
        raise


def _stand_in_line(runner: Runner, name: str, event: threading.Event) -> None:
    try:
        runner.wait(event, None)
    except BaseException:
        if not runner.session.gates.withdraw(name, event.set):
            runner.session.gates.leave(name)
        raise


async def drive_async(runner: Runner, call: Call) -> Settled:
    """Live a life on this loop.

    Raises:
        CancelledError: If whoever awaits this was cancelled, once that is on record.
    """
    life = call.life
    withdrawn = False
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            command = life.send(answer) if error is None else life.throw(error)
        except StopIteration as end:
            if withdrawn:
                raise asyncio.CancelledError from None
            settled: Settled = end.value
            return settled
        except Withdrawn:
            raise asyncio.CancelledError from None
        answer = error = None
        try:
            answer = await _perform_async(runner, call, command)
        except BaseException as raised:  # the life decides what comes of it
            error = runner.translate(raised)
        withdrawn = withdrawn or isinstance(error, Withdrawn) or isinstance(getattr(answer, "error", None), Withdrawn)


async def _perform_async(runner: Runner, call: Call, command: Any) -> Any:
    if isinstance(command, Execute):
        return runner.recorder.result(call, await _execute_async(runner, call, command))
    if isinstance(command, Save):
        return await runner.saver().save(call, command)
    if isinstance(command, Pause):
        return await asyncio.sleep(command.seconds)
    if isinstance(command, Acquire):
        return await _enter_async(runner, command)
    return perform_at_once(runner, command)


async def _execute_async(runner: Runner, call: Call, command: Execute) -> Ended:
    if call.spec.is_async and not runner.executor_of(call).isolated:
        runner.begin_attempt(call, command.row)
        return await runner.attempt_async(call)
    ended: list[Ended] = []
    handle, timer = None, None
    try:
        events: list[Callable[[Any], None]] = []
        woken = wake_on(events.append)

        def done(how: Ended) -> None:
            ended.append(how)
            events[0](None)

        handle, timer = start_attempt(runner, call, command, done)
        try:
            await asyncio.shield(woken)
        except asyncio.CancelledError:
            handle.stop(Cancelled("its caller was cancelled"))
            await woken
    finally:
        if timer is not None:
            timer.cancel()
    return ended[0]


async def _enter_async(runner: Runner, command: Acquire) -> None:
    gates = runner.session.gates
    entered: list[str] = []
    try:
        for name, slots in command.gates:
            go: list[Callable[[Any], None]] = []
            woken = wake_on(go.append)

            def enter(go: list[Callable[[Any], None]] = go) -> None:
                go[0](None)

            if not gates.enter(name, slots, enter):
                try:
                    await woken
                except BaseException:
                    if not gates.withdraw(name, enter):
                        gates.leave(name)
                    raise
            entered.append(name)
    except BaseException:
        for name in entered:
            gates.leave(name)
        raise


class Saver:
    """Saves for the tasks of one loop: all that shared a commit are woken by one call.

    A task that saves alone, with nothing else under way, has its commit made on the loop's own thread as long as
    commits are quicker than the two hops to the committer's and back.
    """

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop) -> None:
        self._runner, self._loop = runner, loop
        self._gathered: list[_Saving] = []

    def save(self, call: Call, command: Save) -> asyncio.Future[None]:
        """Commit; the future is set when that is durable."""
        saving = _Saving(loop=self._loop)
        saving.call, saving.command = call, command
        self._gathered.append(saving)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._hand_on)
        return saving

    def _hand_on(self) -> None:
        """Hand on what the tasks of one turn of the loop save: a lone one is committed here, if that is quick."""
        gathered, self._gathered = self._gathered, []
        journal = self._runner.journal
        if len(gathered) == 1 and journal.is_quick:
            error: BaseException | None = None
            try:
                journal.save(gathered[0].command.entries)
            except BaseException as raised:  # the task that waits hears of it
                error = raised
            self._done(gathered, error)
            return
        for saving in gathered:
            journal.save_then(saving.command.entries, self._done, saving)

    def _done(self, savings: list[_Saving], error: BaseException | None) -> None:
        if error is None:
            for saving in savings:
                self._runner.saved(saving.call, saving.command)
        if find_loop() is self._loop:
            _end_all(savings, error)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_end_all, savings, error)


class _Saving(asyncio.Future[None]):
    """A commit under way: who waits for it cannot be cancelled before it is known how it ended."""

    call: Call
    command: Save

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002
        """Refuse; the waiting task hears of its cancellation when this is done."""
        return False


def _end_all(savings: list[_Saving], error: BaseException | None) -> None:
    for saving in savings:
        if saving.done():
            continue
        if error is None:
            saving.set_result(None)
        else:
            saving.set_exception(error)


class Job:
    """A life that goes on by callbacks: for `submit` and `map`."""

    __slots__ = ("_answer", "_ended", "_lock", "call", "handle", "runner", "settle", "stopped", "timer", "waiting")

    def __init__(self, runner: Runner, call: Call, settle: Callable[[Settled], None]) -> None:
        self.runner, self.call, self.settle = runner, call, settle
        self.handle: Handle | None = None
        self.timer: Timer | None = None
        self.waiting: Callable[[], bool] | None = None
        """Takes it out of what it waits for; False if that has come already."""
        self.stopped: BaseException | None = None
        self._lock = threading.Lock()
        self._ended = 0
        """How many attempts have ended."""

    def step(self, answer: Any = None, error: BaseException | None = None) -> None:
        """Go on with the answer to the last command until one is met that takes time."""
        life = self.call.life
        while True:
            try:
                command = life.send(answer) if error is None else life.throw(error)
            except StopIteration as end:
                self._finish(end.value)
                return
            except BaseException as raised:  # the lease is lost, or the store
                self.runner.job_failed(self, raised)
                return
            answer = error = None
            try:
                if self.stopped is not None and type(command) in (Execute, Pause, Acquire):
                    raise self.stopped  # noqa: TRY301  # caught as if the command had raised it
                if self._start(command):
                    return
                answer = self._answer
            except BaseException as raised:
                error = raised

    def _start(self, command: Any) -> bool:
        """Begin to carry out a command; False when the answer is there already."""
        runner, kind = self.runner, type(command)
        self._answer: Any = None
        if kind is Execute:
            ended = self._ended
            handle, timer = start_attempt(runner, self.call, command, self._executed)
            with self._lock:  # it may have ended, and the next attempt have begun, before this line
                is_over = self._ended != ended
                if not is_over:
                    self.handle, self.timer = handle, timer
            if is_over and timer is not None:
                timer.cancel()
            if self.stopped is not None:  # it came before there was a handle
                handle.stop(self.stopped)
            return True
        if kind is Save:
            runner.journal.save_then(command.entries, _saved, (self, command))
            return True
        if kind is Pause:
            timer = runner.session.timers.later(command.seconds, self.step)
            self.waiting = timer.cancel
            self._hear_late_stop()
            return True
        if kind is Acquire:
            if self._enter(command.gates, 0):
                return False
            self._hear_late_stop()
            return True
        self._answer = perform_at_once(runner, command)
        return False

    def _hear_late_stop(self) -> None:
        """Raise a stop that came after the last look and before `waiting` was set, unless it has been seen to."""
        waiting = self.waiting
        if self.stopped is not None and waiting is not None and waiting():
            self.waiting = None
            raise self.stopped

    def _enter(self, gates: tuple[tuple[str, int], ...], place: int) -> bool:
        for at in range(place, len(gates)):
            name, slots = gates[at]

            def go(at: int = at) -> None:
                self.waiting = None
                if self._enter(gates, at + 1):
                    self.step()

            if not self.runner.session.gates.enter(name, slots, go):
                self.waiting = lambda name=name, go=go, at=at: self._withdraw(gates, at, name, go)
                return False
        return True

    def _withdraw(self, gates: Any, at: int, name: str, go: Callable[[], None]) -> bool:
        if not self.runner.session.gates.withdraw(name, go):
            return False
        for entered, _ in gates[:at]:
            self.runner.session.gates.leave(entered)
        return True

    def _executed(self, ended: Ended) -> None:
        with self._lock:
            timer = self.timer
            self._ended += 1
            self.handle = self.timer = None
        if timer is not None:
            timer.cancel()
        try:
            result = self.runner.recorder.result(self.call, ended)
        except BaseException as raised:
            self.step(error=raised)
            return
        self.step(result)

    def stop(self, signal: BaseException) -> None:
        """End it: what runs is stopped, what waits does not begin."""
        self.stopped = signal
        handle, waiting = self.handle, self.waiting
        if handle is not None:
            handle.stop(signal)
        if waiting is not None and waiting():
            self.waiting = None
            self.step(error=signal)

    def _finish(self, settled: Settled) -> None:
        self.runner.outstanding.drop_job(self)
        self.settle(settled)


def _saved(jobs: list[tuple[Job, Save]], error: BaseException | None) -> None:
    for job, command in jobs:
        try:
            if error is None:
                job.runner.saved(job.call, command)
                job.step()
            else:
                job.step(error=error)
        except BaseException as raised:  # a defect of ours: the others, and the thread that commits, must go on
            job.runner.job_failed(job, raised)
