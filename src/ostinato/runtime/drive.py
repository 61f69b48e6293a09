"""Two drivers of one life, and what all share: they carry out what `ostinato.engine.lifecycle.live` commands.

`drive_here` blocks the calling thread; `drive_async` awaits. The third, `ostinato.runtime.job.Job`, goes on by
callbacks and holds no thread while it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ostinato.clock import SECOND
from ostinato.engine.lifecycle import Acquire, Enter, Execute, Leave, Lookup, Pause, Release, Save, Send
from ostinato.engine.waiting import Await, Look
from ostinato.executors.stopping import shield
from ostinato.future import find_loop, wake_on
from ostinato.outcomes import Cancelled, Stop, TimedOut, Withdrawn
from ostinato.runtime.entering import enter_async, enter_here
from ostinato.runtime.sending import Sent
from ostinato.runtime.standstill import rests
from ostinato.runtime.tries import hand_over, try_async, try_here
from ostinato.runtime.wanted import await_async, await_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ostinato.context import Ended, Handle
    from ostinato.engine.lifecycle import Result
    from ostinato.engine.rules import Gate
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
            if late is None or type(command) in (Save, Release, Leave):
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
            ended = try_here(runner, call)
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
        runner.pause_until(command.due_at, call.row.seq)
        return None
    if kind is Await:
        return await_here(runner, call, command.row)
    if kind is Send:
        return _send_here(runner, call, command)
    if kind is Enter or kind is Acquire:
        enter_here(runner, call, command) if kind is Enter else _acquire_here(runner, command)
        return None
    return perform_at_once(runner, command, call)


def perform_at_once(runner: Runner, command: Any, call: Call | None = None) -> Any:
    """Carry out a command that never waits."""
    if type(command) is Lookup:
        return runner.recorder.cached(command.key)
    if type(command) is Look:
        assert call is not None
        assert call.wanted is not None
        return call.wanted.look(command.row)
    if type(command) is Release:
        leave_gates(runner, command.gates)
        return None
    if type(command) is Leave and call is not None:
        if call.entry is not None:
            runner.session.slots.leave(call.entry)
            call.entry = None
        return None
    message = f"No driver knows how to {type(command).__name__}."
    raise AssertionError(message)


def leave_gates(runner: Runner, gates: Iterable[Gate]) -> None:
    """Give slots back."""
    for name, _, amount in gates:
        runner.session.gates.leave(name, amount)


def _send_here(runner: Runner, call: Call, command: Send) -> Result:
    """Have an attempt carried out as a run of its own, and wait for its end in this thread."""
    with shield():
        sent = Sent(runner, call, command)
    event = threading.Event()
    with sent.awaited():
        sent.watch(event.set)
        try:
            while not sent.ended:
                event.clear()  # a signal to this thread sets it too
                if not sent.ended:
                    runner.rest(event)
                runner.refuse_when_stopping()
        except BaseException as signal:
            sent.drop(signal)
            raise
    with shield():
        return sent.result()


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
    handle = hand_over(runner, call, done, command.memory)
    timeout = call.options.timeout
    if timeout is None:
        return handle, None
    message = f"{call.row.task} ran longer than its timeout of {timeout} s and was stopped."
    return handle, runner.session.timers.later(timeout, lambda: handle.stop(TimedOut(message)))


def _acquire_here(runner: Runner, command: Acquire) -> None:
    entered: list[Gate] = []
    try:
        for gate in command.gates:
            event = threading.Event()
            if not runner.session.gates.enter(*gate, event.set):
                _stand_in_line(runner, gate, event)
            entered.append(gate)
    except BaseException:
        leave_gates(runner, entered)
        raise


def _stand_in_line(runner: Runner, gate: Gate, event: threading.Event) -> None:
    go = event.set
    try:
        runner.rest(event)
    except BaseException:
        if not runner.session.gates.withdraw(gate[0], go):
            leave_gates(runner, (gate,))
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
        return await _pause_async(runner, call, command)
    if isinstance(command, Await):
        return await await_async(runner, call, command.row)
    if isinstance(command, Send):
        return await _send_async(runner, call, command)
    if isinstance(command, Enter):
        return await enter_async(runner, call, command)
    if isinstance(command, Acquire):
        return await _acquire_async(runner, command)
    return perform_at_once(runner, command, call)


async def _execute_async(runner: Runner, call: Call, command: Execute) -> Ended:
    if call.spec.is_async and not runner.executor_of(call).isolated:
        runner.begin_attempt(call, command.row)
        return await try_async(runner, call)
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


@rests
async def _pause_async(runner: Runner, call: Call, command: Pause) -> None:
    seconds = max(0.0, (command.due_at - runner.clock.now()) / SECOND)
    if not runner.session.is_guest:
        await asyncio.sleep(seconds)
        return
    with runner.still.awaiting(runner, "timer", seq=call.row.seq, due_at=command.due_at):
        timers: list[Timer] = []
        woken = wake_on(lambda wake: timers.append(runner.session.timers.later(seconds, lambda: wake(None))))
        try:
            await woken
        finally:
            timers[0].cancel()
    runner.refuse_when_stopping()


@rests
async def _send_async(runner: Runner, call: Call, command: Send) -> Result:
    sent = Sent(runner, call, command)
    with sent.awaited():
        events: list[Callable[[Any], None]] = []
        woken = wake_on(events.append)

        def wake() -> None:
            events[0](None)

        sent.watch(wake)
        try:
            await woken
            runner.refuse_when_stopping()
        except BaseException as signal:
            sent.drop(runner.translate(signal))
            raise
    return sent.result()


@rests
async def _acquire_async(runner: Runner, command: Acquire) -> None:
    gates = runner.session.gates
    entered: list[Gate] = []
    try:
        for gate in command.gates:
            go: list[Callable[[Any], None]] = []
            woken = wake_on(go.append)

            def enter(go: list[Callable[[Any], None]] = go) -> None:
                go[0](None)

            if not gates.enter(*gate, enter):
                try:
                    await woken
                    runner.refuse_when_stopping()
                except BaseException:
                    if not gates.withdraw(gate[0], enter):
                        leave_gates(runner, (gate,))
                    raise
            entered.append(gate)
    except BaseException:
        leave_gates(runner, entered)
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
