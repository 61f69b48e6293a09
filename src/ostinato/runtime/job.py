"""The third driver of a life: it goes on by callbacks, and holds no thread while it waits. For `submit` and `map`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ostinato.clock import SECOND
from ostinato.engine.lifecycle import Acquire, Enter, Execute, Pause, Save, Send
from ostinato.runtime.drive import leave_gates, perform_at_once, start_attempt
from ostinato.runtime.sending import Sent
from ostinato.runtime.slots import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Ended, Handle
    from ostinato.engine.rules import Gate
    from ostinato.future import Settled
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.timers import Timer


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
                if self.stopped is not None and type(command) in (Execute, Send, Pause, Enter, Acquire):
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
            self._pause(command)
            return True
        if kind is Send:
            self._send(command)
            return True
        if kind is Enter or kind is Acquire:
            return self._pass(command) if kind is Enter else self._acquire(command)
        self._answer = perform_at_once(runner, command, self.call)
        return False

    def _pause(self, command: Pause) -> None:
        runner, row = self.runner, self.call.row
        number = runner.still.await_(runner, "timer", key=None, seq=row.seq, due_at=command.due_at)
        runner.still.rest()

        def over() -> None:
            runner.still.got(number)
            self._rise()

        timer = runner.session.timers.later(max(0.0, (command.due_at - runner.clock.now()) / SECOND), over)
        self._wait(lambda: timer.cancel() and self._was_dropped(number))

    def _send(self, command: Send) -> None:
        runner = self.runner
        sent = Sent(runner, self.call, command)
        number = runner.still.await_(runner, "run", key=sent.run_id, seq=self.call.row.seq, due_at=None)
        runner.still.rest()

        def over() -> None:
            runner.still.got(number)
            self._rise(sent)

        def drop() -> bool:
            return sent.drop(self.stopped) and self._was_dropped(number)

        sent.watch(over)
        self._wait(drop)

    def _was_dropped(self, number: int) -> bool:
        self.runner.still.got(number)
        self.runner.still.rise()
        return True

    def _rise(self, sent: Sent | None = None) -> None:
        """Go on after a wait, unless the run is being suspended."""
        self.waiting = None
        still = self.runner.still
        if not still.rise():
            self.step(error=still.signal)
            return
        try:
            answer = None if sent is None else sent.result()
        except BaseException as raised:
            self.step(error=raised)
            return
        self.step(answer)

    def _wait(self, waiting: Callable[[], bool]) -> None:
        """Wait for something that `waiting` takes this out of; a stop that came just before is heard."""
        self.waiting = waiting
        self._hear_late_stop()

    def _hear_late_stop(self) -> None:
        """Raise a stop that came after the last look and before `waiting` was set, unless it has been seen to."""
        waiting = self.waiting
        if self.stopped is not None and waiting is not None and waiting():
            self.waiting = None
            raise self.stopped

    def _acquire(self, command: Acquire) -> bool:
        if self._enter(command.gates, 0):
            return False
        self._hear_late_stop()
        return True

    def _pass(self, command: Enter) -> bool:
        runner, call = self.runner, self.call
        slots = runner.session.slots

        def go(error: BaseException | None) -> None:
            self.waiting = None
            if not runner.still.rise():
                error = runner.still.signal
                slots.let_go(entry, error)
            if error is not None:
                call.entry = None
                self.step(error=error)
            else:
                self.step()

        def withdraw() -> bool:
            if not slots.withdraw(entry, self.stopped):
                return False
            call.entry = None
            runner.still.rise()
            return True

        entry = call.entry = Entry(runner, call.row, command.limits, go)
        runner.still.rest()
        self.waiting = withdraw
        slots.enter(entry)
        self._hear_late_stop()
        return True

    def _enter(self, gates: tuple[Gate, ...], place: int) -> bool:
        runner = self.runner
        for at in range(place, len(gates)):

            def go(at: int = at) -> None:
                self.waiting = None
                if not runner.still.rise():
                    leave_gates(runner, gates[: at + 1])
                    self.step(error=runner.still.signal)
                elif self._enter(gates, at + 1):
                    self.step()

            runner.still.rest()
            if not runner.session.gates.enter(*gates[at], go):
                self.waiting = lambda go=go, at=at: self._withdraw(gates, at, go)
                return False
            runner.still.rise()
        return True

    def _withdraw(self, gates: tuple[Gate, ...], at: int, go: Callable[[], None]) -> bool:
        if not self.runner.session.gates.withdraw(gates[at][0], go):
            return False
        self.runner.still.rise()
        leave_gates(self.runner, gates[:at])
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
