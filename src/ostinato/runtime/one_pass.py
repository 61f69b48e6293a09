"""One pass of a run: opened, ended well or badly, and committed as one or the other, or given up until later."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from ostinato import telemetry
from ostinato.clock import SECOND
from ostinato.context import Frame
from ostinato.engine.clearing import short_name, unfinished
from ostinato.engine.memo import NOT_REPLAYABLE, Memo, attempt_of
from ostinato.errors import (
    NonDeterminismError,
    OstinatoError,
    ResultError,
    RunFailedError,
    StaleEpochError,
    TaskTimeoutError,
)
from ostinato.executors.stopping import shield
from ostinato.fingerprint import fingerprint
from ostinato.hooks import Moment
from ostinato.outcomes import Cancel, Cancelled, Interrupted, LeaseLost, Skip, Stop, Suspended, TimedOut, failure_of
from ostinato.records import Commit, Event, RunEnd, Suspension, Wait
from ostinato.runtime.announcing import run_hook
from ostinato.runtime.arguments import resolved
from ostinato.runtime.attempt import body_async, body_here
from ostinato.runtime.cancelling import cancel_children, cancel_run
from ostinato.runtime.entering import enter_run_async, enter_run_here
from ostinato.runtime.outstanding import Outstanding
from ostinato.runtime.runner import Runner
from ostinato.states import State
from ostinato.timing import ANSWERED, event_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ostinato.authoring.flow import Flow
    from ostinato.records import Run, TaskRun
    from ostinato.runtime.passes import Passes
    from ostinato.runtime.standstill import Standstill

_LOOK_AGAIN = 30 * SECOND
"""After this time, or a quarter of the run's age, a run looks which of the runs that it waits for have ended."""
_log = logging.getLogger("ostinato.internal")
replace = msgspec.structs.replace


class OnePass:
    """One pass of a run; as a context manager, from its opening to the commit of how it ended."""

    def __init__(
        self,
        passes: Passes,
        run: Run,
        flow: Flow[Any, Any],
        parameters: Mapping[str, Any],
        parent: Runner | None,
        still: Standstill | None,
    ) -> None:
        self.session, self.run, self.flow = passes.session, run, flow
        is_new = run.epoch == 1 and run.branch_of is None
        memo = Memo(() if is_new else self.session.store.load(run.id))
        self.runner = Runner(self.session, run, flow, memo, dict(parameters), passes, still=still)
        self.values = tuple(parameters.values())
        self.frame = Frame(
            runtime=self.runner,
            run_id=run.id,
            flow=flow.name,
            attempt=run.attempt,
            scheduled_at=run.scheduled_at,
            tags=flow.options.tags,
        )
        self.value: Any = None
        self.error: BaseException | None = None
        self._release: list[Callable[[], object]] = []
        self.due_at: int | None = None
        """When the run is to be tried again in this process."""
        self.is_root = parent is None
        self.refused = False
        """Its overlap with another run did not let it begin."""
        self._passes, self._parent = passes, parent
        self._state = State.RUNNING
        self._orphans: list[int] = []
        self._warnings: list[Event] = []

    def __enter__(self) -> Self:
        """Tell of the beginning; arm what may stop it."""
        runner, timeout = self.runner, self.flow.options.timeout
        if self._parent is not None:
            self._release.append(self._parent.outstanding.on_stop(runner.stop))
        if timeout is not None:
            message = f"{self.flow.name} ran longer than its timeout of {timeout} s and was stopped."
            timer = self.session.timers.later(timeout, lambda: runner.stop(TimedOut(message)))
            self._release.append(timer.cancel)
        runner.journal.tell(self._event("run.started", attempt=self.run.attempt, remembered=runner.remembered))
        telemetry.emit("run.started", (runner,))
        self._hooks("started")
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        """Commit how it ended."""
        try:
            self._leave(error)
        except Stop as late:  # the parent's signal: it may strike once on the way in
            if not self._has_left:
                self._leave(late)
            raise

    def _leave(self, error: BaseException | None) -> None:
        """Commit how it ended. The signal that stops a child run's parent must not tear this apart, so it waits."""
        with shield():
            self._has_left = True
            if error is not None and self.error is None:  # it struck between the body and here
                self.fail(error)
                if not self.is_lost and not self.flow.spec.is_async:
                    self.runner.drain_here()
            for release in self._release:
                release()
            try:
                self._end()
            finally:
                self.runner.still.part(self.runner)
                self.session.runners.pop(self.run.id, None)

    _has_left = False

    def fail(self, error: BaseException) -> None:
        """Take what ended the body; what has not begun does not begin any more."""
        stopping = self.runner.stopping
        self.error = error if stopping is None else stopping  # whatever the body made of it
        if not self.is_lost:
            self.runner.closing = True
            self.runner.outstanding.drop_waiting()

    @property
    def is_lost(self) -> bool:
        """This process no longer holds the run, so nothing may be written."""
        return isinstance(self.error, LeaseLost) or self.runner.journal.failure is not None

    def _end(self) -> None:
        if self.error is None:
            self._judge()
        if isinstance(self.error, Exception) and self.runner.journal.is_cancelled and not self.is_lost:
            self.error = Cancelled("somebody asked to cancel the run")  # its child runs may have heard of it first
        if self.is_lost:
            self._lose()
        elif isinstance(self.error, Suspended):
            self._suspend()
        else:
            end = self._ending()
            delay = self._retry_delay() if end.state is State.FAILED else None
            if delay is None:
                self._conclude(end)
            else:
                self._put_off(end, delay)

    def _went(self, how: Literal["ended", "suspended", "lost"]) -> None:
        if self.is_root:
            self._passes.went = how

    def _lose(self) -> None:
        failure = self.runner.journal.failure
        if failure is None or isinstance(failure, StaleEpochError):
            failure = StaleEpochError(self._lost_message(failure or self.runner.stopping))
        self.error = failure
        self._state = State.CRASHED
        self._went("lost")
        telemetry.emit("run.ended", (self.runner, State.CRASHED, self.error))

    def _conclude(self, end: RunEnd) -> None:
        """Commit the end."""
        strays = self._strays(end)
        if end.state is State.CANCELLED:
            self._quietly(lambda: cancel_children(self.session.store, self.run.id))
        self._state = end.state
        closed = {row.seq for row in strays}  # a commit writes no row twice
        self.runner.journal.save(
            Commit(
                task_runs=[*self._left_over(end), *strays],
                orphans=[seq for seq in self._orphans if seq not in closed] if end.state is State.SUCCEEDED else [],
                leaves=[-1] if self.run.gates or self.session.slots.used_by(self.run.id) else [],
                events=[*self._warnings, self._event(f"run.{end.state}", reason=end.reason)],
                end=end,
            )
        )
        self._went("ended")
        telemetry.emit("run.ended", (self.runner, end.state, self.error))
        self._hooks(str(end.state))

    def _suspend(self) -> None:
        """Give the process up until what is waited for has happened."""
        runner, now = self.runner, self.session.clock.now()
        if runner.under_way:
            runner.journal.save(Commit())  # a commit under way may yet end some of them
        inline = [row for row in runner.under_way.values() if row.state is State.RUNNING]
        waits = runner.still.waits(runner)
        runs = [wait for wait in waits if wait.kind == "run"]
        if len(runs) > 1:  # it comes back when all have ended, but some may be enough to go on with
            later = now + max(_LOOK_AGAIN, (now - (self.run.started_at or now)) // 4)
            waits.append(Wait(run_id=self.run.id, n=len(waits), kind="timer", due_at=later, created_at=now))
        self._state = State.WAITING
        runner.journal.save(
            Commit(
                task_runs=[replace(row, state=State.WAITING, reason="suspended") for row in inline],
                suspend=Suspension(state=State.WAITING, reason=_reason(waits), waits=waits),
            )
        )
        self._went("suspended")
        telemetry.emit("run.suspended", (runner,))

    def _put_off(self, end: RunEnd, delay: float) -> None:
        """Commit that the run will be tried again: what has not succeeded is cleared, and the delay begins."""
        run, session = self.run, self.session
        left = self._left_over(end)
        if left:
            self.runner.journal.save(Commit(task_runs=left))
        rows = [row for row in session.store.load(run.id) if row.run_id == run.id]
        chosen = set(unfinished(rows))
        again = [row for row in rows if row.seq in chosen]
        due_at = end.finished_at + round(delay * SECOND)
        leaves = self.is_root and session.is_guest and run.pool is not None and delay > session.settings.suspend_after
        timer = Wait(run_id=run.id, n=0, kind="timer", due_at=due_at, created_at=end.finished_at)
        self._strays(end)
        self._state = State.RETRYING
        self.runner.journal.save(
            Commit(
                task_runs=[_cleared(row) for row in again],
                attempts=[attempt_of(row) for row in again],
                events=[*self._warnings, self._event("run.retrying", in_seconds=delay, error=_line(self.error))],
                suspend=Suspension(
                    state=State.RETRYING, reason=end.reason or "failed", waits=[timer] if leaves else [], attempt=leaves
                ),
            )
        )
        telemetry.emit("run.retrying", (self.runner, delay, self.error))
        self._hooks("retrying")
        if leaves:
            self._went("suspended")
            self.error = Suspended("it is tried again later")
        else:
            self.due_at = due_at

    def _strays(self, end: RunEnd) -> list[TaskRun]:
        """Close the task runs that wait since an earlier pass and were not reached by this one, and what they sent."""
        left = self.runner.memo.left(self.run.id)
        for row in left:
            if row.kind == "task" and row.child_run_id is not None:
                self._quietly(lambda child=row.child_run_id: cancel_run(self.session.store, child))  # type: ignore[misc]
        closed = {"state": State.CANCELLED, "reason": "orphaned", "finished_at": end.finished_at}
        return [replace(row, **closed, orphaned=end.state is State.SUCCEEDED, due_at=None) for row in left]

    def _quietly(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OstinatoError as error:
            _log.debug("child runs of %s were not cancelled: %s", self.run.id, error)

    # --- between two attempts of the run, in this process

    def rest_here(self) -> None:
        """Wait for the next attempt, unless somebody stops that."""
        with self._resting():
            self.runner.pause(self._left())

    async def rest_async(self) -> None:
        """Wait for the next attempt on this loop; see `rest_here`."""
        with self._resting():
            release = self.runner.outstanding.adopt()
            try:
                await asyncio.sleep(self._left())
            finally:
                release()
            self.runner.refuse_when_stopping()

    def _left(self) -> float:
        assert self.due_at is not None
        return max(0.0, (self.due_at - self.session.clock.now()) / SECOND)

    @contextmanager
    def _resting(self) -> Iterator[None]:
        runner, session = self.runner, self.session
        runner.outstanding = Outstanding()  # what stopped the attempt, a timeout, is over with it
        parent = self._parent
        release: Callable[[], object] = int if parent is None else parent.outstanding.on_stop(runner.stop)
        session.enter(runner)
        if session.interrupted.is_set():
            runner.stop(Interrupted("Ctrl-C"))
        try:
            yield
        except BaseException as raised:
            signal = runner.translate(raised)
            self._stop_resting(signal)
            raise signal from None
        finally:
            release()
            session.runners.pop(self.run.id, None)

    def _stop_resting(self, signal: BaseException) -> None:
        if isinstance(signal, LeaseLost):
            self._went("lost")
        elif isinstance(signal, (Cancelled, KeyboardInterrupt)):
            end = RunEnd(state=State.CANCELLED, reason="cancelled", finished_at=self.session.clock.now())
            self._orphans, self._warnings, self.error = [], [], signal
            self._conclude(end)

    def _judge(self) -> None:
        """Look at a body that returned: failures that nobody saw to, calls that were not reached, a wrong type."""
        unseen = [settled for future, settled in self.runner.failed if not future.looked_at]
        if unseen:
            self.error = _unseen(unseen)
            return
        if self.flow.options.types == "on":
            try:
                self.flow.spec.check_result(self.value)
            except TypeError as error:
                self.error = error
                return
        orphans = list(self.runner.memo.orphans(self.run.id))
        self._orphans = [row.seq for row in orphans]
        if orphans and self.run.recoveries and self.run.code == self.flow.spec.code:
            self._warn([short_name(row.task) for row in orphans])

    def _warn(self, names: list[str]) -> None:
        shown = ", ".join(dict.fromkeys(names[:5]))
        message = (
            f"{len(names)} task run{'s' if len(names) > 1 else ''} of the interrupted pass ({shown}) "
            f"{'were' if len(names) > 1 else 'was'} not reached again although {self.flow.name} has not changed: "
            "an argument changes by itself. Take times and random numbers from ostinato.now(), uuid4() and random()."
        )
        if self.flow.options.strict:
            self.error = NonDeterminismError(message)
            return
        logging.getLogger("ostinato").warning(message)
        self._warnings = [self._event("run.orphans", tasks=names[:50], message=message)]

    def _ending(self) -> RunEnd:
        now, error, value = self.session.clock.now(), self.error, self.value
        if error is None:
            if isinstance(value, (Skip, Cancel)):
                state = State.SKIPPED if isinstance(value, Skip) else State.CANCELLED
                why = "overlap" if self.refused else "returned"
                return RunEnd(state=state, reason=why, finished_at=now, result=self._stored())
            return RunEnd(state=State.SUCCEEDED, finished_at=now, result=self._stored())
        if isinstance(error, (Cancelled, asyncio.CancelledError, KeyboardInterrupt)):
            return RunEnd(state=State.CANCELLED, reason="cancelled", finished_at=now)
        reason = None
        if isinstance(error, TimedOut):
            self.error = error = TaskTimeoutError(str(error))
            reason = "timed_out"
        return RunEnd(state=State.FAILED, reason=reason, finished_at=now, error=failure_of(error).to_json())

    def _retry_delay(self) -> float | None:
        retry = self.flow.options.retry
        if retry is None or self.error is None:
            return None
        return retry.delay_after(self.run.attempt, self.error, random.random())

    def _stored(self) -> bytes:
        try:
            found = fingerprint(self.value)
            stored, blob = self.session.results.dump(self.value, found, self.session.settings.inline_limit)
        except ResultError as error:
            _log.warning("The result of run %s is not stored: %s", self.run.id, error)
            return NOT_REPLAYABLE + str(error).encode()
        if blob is not None:
            self.runner.journal.name_blob(blob)
        return stored

    def _left_over(self, end: RunEnd) -> list[Any]:
        """Close the task runs that were under way when the run was stopped."""
        if self.runner.under_way:
            self.runner.journal.save(Commit())  # a commit under way may yet end some of them
        return [
            replace(row, state=State.CANCELLED, reason="cancelled", finished_at=end.finished_at)
            for row in list(self.runner.under_way.values())
        ]

    def hand_over(self) -> Any:
        """Return what the body returned, or raise what ended it."""
        if self.error is None:
            return self.value
        raise self.error

    def _event(self, kind: str, **data: Any) -> Event:
        facts = {"flow": self.flow.name, **{name: value for name, value in data.items() if value is not None}}
        return Event(
            at=self.session.clock.now(), kind=kind, run_id=self.run.id, data=msgspec.json.encode(facts).decode()
        )

    def _hooks(self, name: str) -> None:
        for hook in self.flow.options.hooks.at(name):
            state = str(self._state)
            run_hook(
                hook,
                Moment(
                    run_id=self.run.id, flow=self.flow.name, task=None, attempt=self.run.attempt, state=state,
                    error=self.error, result=self.value,
                ),
            )  # fmt: skip

    def _lost_message(self, why: BaseException | None) -> str:
        return (
            f"This process no longer holds run {self.run.id}: {str(why).rstrip('.')}. What it did since is not kept. "
            f"See where the run stands with `ostinato runs show {self.run.id}`, "
            f"go on with it by `ostinato runs resume {self.run.id}`."
        )


def _unseen(unseen: list[Any]) -> BaseException:
    first = unseen[0]
    if len(unseen) == 1 and first.error is not None:
        error: BaseException = first.error
        return error
    names = ", ".join(dict.fromkeys(short_name(settled.task) for settled in unseen[:5]))
    failure = RunFailedError(f"{len(unseen)} task run{'s' if len(unseen) > 1 else ''} failed: {names}.")
    failure.__cause__ = first.error
    return failure


def _reason(waits: list[Wait]) -> str:
    """Say in a word what a run waits for."""
    if any(wait.kind == "run" for wait in waits):
        return "child_runs"
    keys = [wait.key or "" for wait in waits if wait.kind == "event"]
    if any(key.startswith(event_key(ANSWERED, "")) for key in keys):
        return "question"
    if any(wait.kind == "slot" for wait in waits):
        return "limit"
    return "event" if keys else "delay"


def _cleared(row: TaskRun) -> TaskRun:
    return replace(
        row,
        state=State.SCHEDULED,
        reason="retried",
        failures=0,
        due_at=None,
        started_at=None,
        finished_at=None,
        error=None,
    )


def _line(error: BaseException | None) -> str | None:
    return None if error is None else failure_of(error).line


def body_of(now: OnePass) -> Any:
    """Run the body of a sync flow, and see the end of what it has begun."""
    if now.is_root and (refusal := enter_run_here(now.runner)) is not None:
        now.refused = True
        return refusal
    value = body_here(now.flow.spec, now.values, now.frame)
    now.runner.drain_here()
    now.runner.refuse_when_stopping()
    return resolved(value)


async def body_of_async(now: OnePass) -> Any:
    """Run the body of an async flow, and see the end of what it has begun."""
    if now.is_root:
        now.runner.still.loop = asyncio.get_running_loop()
    if now.is_root and (refusal := await enter_run_async(now.runner)) is not None:
        now.refused = True
        return refusal
    value = await body_async(now.flow.spec, now.values, now.frame)
    await now.runner.drain_async()
    now.runner.refuse_when_stopping()
    return resolved(value)
