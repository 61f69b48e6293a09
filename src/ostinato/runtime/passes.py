"""Passes: a run's body is run, and run again, until the run has ended. Child runs are passes inside a pass."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ostinato import telemetry
from ostinato.context import Ended, Frame
from ostinato.engine.clearing import short_name, unfinished
from ostinato.engine.identity import child_run_id
from ostinato.engine.memo import NOT_REPLAYABLE, Memo
from ostinato.errors import NonDeterminismError, ResultError, RunFailedError, StaleEpochError, TaskTimeoutError
from ostinato.executors.stopping import shield
from ostinato.fingerprint import fingerprint
from ostinato.hooks import Moment
from ostinato.outcomes import Cancel, Cancelled, Interrupted, LeaseLost, Skip, Stop, TimedOut, failure_of
from ostinato.records import Commit, Event, Run, RunEnd
from ostinato.runtime.announcing import run_hook
from ostinato.runtime.arguments import resolved
from ostinato.runtime.attempt import body_async, body_here
from ostinato.runtime.runner import Runner
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostinato.authoring.flow import Flow
    from ostinato.runtime.call import Call
    from ostinato.runtime.session import Session

_log = logging.getLogger("ostinato.internal")
replace = msgspec.structs.replace


class Passes:
    """Runs runs, in this process, until they end."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run_here(
        self, run: Run, flow: Flow[Any, Any], parameters: Mapping[str, Any], *, parent: Runner | None = None
    ) -> Any:
        """Run a sync flow's run, which this session holds, to its end.

        Returns:
            What the body returned.

        Raises:
            BaseException: What the body raised.
        """
        while True:
            with _Pass(self, run, flow, parameters, parent) as now:
                try:
                    now.value = now.runner.body.run(lambda: _body_here(now))
                except BaseException as error:  # it decides how the run ends
                    now.fail(error)
                if now.error is not None and not now.is_lost:
                    now.runner.drain_here()
            delay = now.retry_after()
            if delay is None:
                return now.hand_over()
            self._rest_here(delay, parent)
            run = self.open_again(run)

    async def run_async(
        self, run: Run, flow: Flow[Any, Any], parameters: Mapping[str, Any], *, parent: Runner | None = None
    ) -> Any:
        """Run an async flow's run on this loop; see `run_here`."""
        while True:
            with _Pass(self, run, flow, parameters, parent) as now:
                release = now.runner.outstanding.adopt()
                try:
                    now.value = await _body_async(now)
                except BaseException as error:
                    now.fail(now.runner.translate(error))
                finally:
                    release()
                if now.error is not None and not now.is_lost:
                    await now.runner.drain_async()
            delay = now.retry_after()
            if delay is None:
                return now.hand_over()
            await self._rest_async(delay, parent)
            run = self.open_again(run)

    def _rest_here(self, delay: float, parent: Runner | None) -> None:
        """Wait between two attempts of a run, unless somebody stops that."""
        if parent is not None:
            parent.pause(delay)
        elif self.session.interrupted.wait(delay):
            raise Interrupted("Ctrl-C")

    async def _rest_async(self, delay: float, parent: Runner | None) -> None:
        until = time.monotonic() + delay
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))
            if parent is None and self.session.interrupted.is_set():
                raise Interrupted("Ctrl-C")

    def open_again(self, run: Run) -> Run:
        """Begin a new attempt of a run that failed: what is finished stays."""
        again = unfinished(self.session.store.load(run.id))
        return self.session.store.reopen(run.id, self.session.worker_id, again=again, attempt=True)

    # --- child runs

    def child_here(self, parent: Runner, call: Call) -> Ended:
        """Run a sync child flow as one attempt of its parent's task run."""
        started_at = self.session.clock.now()
        try:
            run = self._child(parent, call)
            if run.state is State.SUCCEEDED:
                value = self._recorded(run)
            else:
                assert call.flow is not None
                value = self.run_here(run, call.flow, call.named, parent=parent)
            return Ended(value=value, started_at=started_at, finished_at=self.session.clock.now())
        except BaseException as error:  # how the child ended is how the attempt ended
            return Ended(error=error, started_at=started_at, finished_at=self.session.clock.now())

    async def child_async(self, parent: Runner, call: Call) -> Ended:
        """Run an async child flow; see `child_here`."""
        started_at = self.session.clock.now()
        try:
            run = self._child(parent, call)
            if run.state is State.SUCCEEDED:
                value = self._recorded(run)
            else:
                assert call.flow is not None
                value = await self.run_async(run, call.flow, call.named, parent=parent)
            return Ended(value=value, started_at=started_at, finished_at=self.session.clock.now())
        except BaseException as error:
            return Ended(error=error, started_at=started_at, finished_at=self.session.clock.now())

    def _recorded(self, run: Run) -> Any:
        return None if run.result is None else self.session.results.load(run.result)

    def _child(self, parent: Runner, call: Call) -> Run:
        """Create the child run, or take it up again where an earlier pass left it."""
        flow, row = call.flow, call.row
        assert flow is not None
        identity = row.child_run_id or child_run_id(parent.run.id, row.id)
        row.child_run_id = identity
        wanted = new_run(self.session, flow, call.named, identity=identity)
        wanted.parent_run_id, wanted.parent_seq = parent.run.id, row.seq
        wanted.scheduled_at = parent.run.scheduled_at
        run = self.session.store.create(wanted)
        if run.worker_id == self.session.worker_id and run.epoch == 1 and run.state is State.RUNNING:
            return run
        if run.state is State.SUCCEEDED and row.clears == 0:
            return run
        rows = list(self.session.store.load(run.id))
        if run.state is State.SUCCEEDED:
            clear = [row.seq for row in rows]
            return self.session.store.reopen(run.id, self.session.worker_id, clear=clear)
        again = unfinished(rows) if run.state is not State.CRASHED else []
        return self.session.store.reopen(run.id, self.session.worker_id, again=again)


class _Pass:
    """One pass: opened, ended well or badly, and committed as one or the other."""

    def __init__(
        self, passes: Passes, run: Run, flow: Flow[Any, Any], parameters: Mapping[str, Any], parent: Runner | None
    ) -> None:
        self.session, self.run, self.flow = passes.session, run, flow
        is_new = run.epoch == 1 and run.branch_of is None
        memo = Memo(() if is_new else self.session.store.load(run.id))
        self.runner = Runner(self.session, run, flow, memo, dict(parameters), passes)
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
        self._parent = parent
        self._state = State.RUNNING
        self._orphans: list[int] = []
        self._warnings: list[Event] = []
        self._delay: float | None = None

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
        failure = self.runner.journal.failure
        if self.is_lost:
            if failure is None or isinstance(failure, StaleEpochError):
                failure = StaleEpochError(self._lost_message(failure or self.runner.stopping))
            self.error = failure
            self._state = State.CRASHED
            telemetry.emit("run.ended", (self.runner, State.CRASHED, self.error))
            return
        end = self._ending()
        self._state = end.state
        last = self._event(f"run.{end.state}", reason=end.reason)
        if self._delay is not None:
            end = replace(end, reason="retrying")
            last = self._event("run.retrying", in_seconds=self._delay, error=_line(self.error))
        self.runner.journal.save(
            Commit(
                task_runs=self._left_over(end),
                orphans=self._orphans if end.state is State.SUCCEEDED else [],
                events=[*self._warnings, last],
                end=end,
            )
        )
        if self._delay is not None:
            telemetry.emit("run.retrying", (self.runner, self._delay, self.error))
        else:
            telemetry.emit("run.ended", (self.runner, end.state, self.error))
        self._hooks("retrying" if self._delay is not None else str(end.state))

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
                return RunEnd(state=state, reason="returned", finished_at=now, result=self._stored())
            return RunEnd(state=State.SUCCEEDED, finished_at=now, result=self._stored())
        if isinstance(error, (Cancelled, asyncio.CancelledError, KeyboardInterrupt)):
            return RunEnd(state=State.CANCELLED, reason="cancelled", finished_at=now)
        reason = None
        if isinstance(error, TimedOut):
            self.error = error = TaskTimeoutError(str(error))
            reason = "timed_out"
        self._delay = self._retry_delay(error)
        return RunEnd(state=State.FAILED, reason=reason, finished_at=now, error=failure_of(error).to_json())

    def _retry_delay(self, error: BaseException) -> float | None:
        retry = self.flow.options.retry
        if retry is None:
            return None
        return retry.delay_after(self.run.attempt, error, random.random())

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

    def retry_after(self) -> float | None:
        """Say after how many seconds the run is tried again, or None."""
        return self._delay

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


def _line(error: BaseException | None) -> str | None:
    return None if error is None else failure_of(error).line


def _body_here(now: _Pass) -> Any:
    value = body_here(now.flow.spec, now.values, now.frame)
    now.runner.drain_here()
    now.runner.refuse_when_stopping()
    return resolved(value)


async def _body_async(now: _Pass) -> Any:
    value = await body_async(now.flow.spec, now.values, now.frame)
    await now.runner.drain_async()
    now.runner.refuse_when_stopping()
    return resolved(value)


def new_run(session: Session, flow: Flow[Any, Any], parameters: Mapping[str, Any], *, identity: str) -> Run:
    """Describe a new run of a flow, leased to this session."""
    now = session.clock.now()
    stored: bytes | None
    try:
        stored, _ = session.results.dump(dict(parameters), fingerprint(dict(parameters)), 1 << 20)
    except ResultError as error:
        _log.warning("The parameters of %s are not stored, so only its own process can run it: %s", flow.name, error)
        stored = None
    return Run(
        id=identity,
        flow=flow.name,
        state=State.RUNNING,
        epoch=1,
        lineage=identity,
        parameters=stored,
        target=flow.target,
        cwd=session.cwd,
        code=flow.spec.code,
        tags=list(flow.options.tags),
        key=flow.options.key,
        worker_id=session.worker_id,
        version=session.version,
        created_at=now,
        started_at=now,
    )
