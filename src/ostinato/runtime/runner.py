"""One pass of one run: what tasks reach when they are called in its body. Implements the `Runtime` Protocol."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from ostinato import telemetry
from ostinato.authoring.spec import spec_of
from ostinato.authoring.task import TaskOptions
from ostinato.clock import SECOND
from ostinato.context import Frame, find_frame
from ostinato.errors import UsageError
from ostinato.executors.stopping import Stoppable, shield, waking
from ostinato.future import Future, MapResults, Settled, find_loop, wake_on
from ostinato.handle import RunHandle
from ostinato.outcomes import Cancelled, LeaseLost, Withdrawn
from ostinato.records import LogLine
from ostinato.runtime.announcing import announce
from ostinato.runtime.arguments import LeftOut, pending, resolved
from ostinato.runtime.begin import Asked, begin
from ostinato.runtime.countdown import Countdown
from ostinato.runtime.drive import Saver, drive_async, drive_here
from ostinato.runtime.feeder import begin_map
from ostinato.runtime.job import Job
from ostinato.runtime.journal import Journal
from ostinato.runtime.line import InsideLine
from ostinato.runtime.outside import Outside
from ostinato.runtime.outstanding import Outstanding
from ostinato.runtime.recorder import Recorder
from ostinato.runtime.room import room_of
from ostinato.runtime.standstill import Standstill, rests
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.authoring.flow import Flow
    from ostinato.authoring.task import Task
    from ostinato.context import Executor
    from ostinato.engine.lifecycle import Save
    from ostinato.engine.memo import Memo
    from ostinato.records import Run, TaskRun
    from ostinato.runtime.call import Call
    from ostinato.runtime.passes import Passes
    from ostinato.runtime.session import Session

    Settle = Callable[[Settled], None]


class Runner:
    """One pass of a run's body, from its first call to its last commit.

    Args:
        session: This process.
        run: The run, leased to this session's worker.
        flow: The flow.
        memo: What the run remembers.
        parameters: The flow's parameters by name, for cache keys.
        passes: Runs child runs.
        still: That of the run in whose body this child run is called; None for one of its own.
    """

    def __init__(
        self,
        session: Session,
        run: Run,
        flow: Flow[Any, Any],
        memo: Memo,
        parameters: dict[str, Any],
        passes: Passes,
        *,
        still: Standstill | None = None,
    ) -> None:
        self.session, self.run, self.flow, self.memo, self.parameters = session, run, flow, memo, parameters
        self.passes, self.clock = passes, session.clock
        self.remembered = len(memo)
        self.journal = Journal(
            session.store,
            run.id,
            run.epoch,
            session.committer,
            on_failure=lambda error: session.ask(lambda: self.stop(LeaseLost(str(error)))),
            on_cancel=lambda: session.ask(lambda: self.stop(Cancelled("somebody asked to cancel the run"))),
        )
        self.recorder = Recorder(session, run.id, self.journal)
        self.outstanding = Outstanding()
        self.line = InsideLine(self)
        self.outside = Outside(self)
        self.still = still or Standstill()
        self.still.join(self)
        self.body = Stoppable()
        self.closing = False
        """The body has ended badly: what has not begun does not begin."""
        self.failed: list[tuple[Any, Settled]] = []
        """Failures of futures, each with its future: unless somebody looks at it, the run has failed."""
        self.under_way: dict[int, TaskRun] = {}
        """Task runs that have begun and not ended, as they were last noted."""
        self.replayed = 0
        self.room = room_of(run)
        """How much of each resource its task runs may take at once."""
        self.uncached: set[str] = set()
        """Tasks of which it was said that a call cannot be cached."""
        self._seq = memo.next_seq
        self._lock = threading.Lock()
        self._savers: dict[int, Saver] = {}
        self._kept: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly; this holds them
        session.enter(self)

    # --- what tasks call: the Runtime Protocol

    def call(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a task and return its value, or a coroutine of it if the task is async."""
        asked = Asked(task.key, task.spec, task.options)
        if task.spec.is_async:
            return self._call_async(asked, args, kwargs)
        with shield():
            self.refuse_when_stopping()
            values = task.spec.bind(args, kwargs)
            lazy = pending(values)
            begun = None if lazy or asked.options.wait_for else begin(self, asked, values, lazy, self._frame())
        if begun is None:
            return self._call_here(asked, values, lazy)
        return self.hand_over(begun if isinstance(begun, Settled) else drive_here(self, begun))

    def call_flow(self, flow: Flow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a flow as a child run, inline; a coroutine of its value if the flow is async."""
        self.refuse_when_stopping()
        asked = Asked(
            flow.name, flow.spec, TaskOptions(name=flow.name, limits=flow.options.limits), kind="flow", flow=flow
        )
        if flow.spec.is_async:
            return self._call_flow_async(asked, flow, args, kwargs)
        return self._call_here(asked, tuple(flow.validate(*self._ended(args, kwargs)).values()), ())

    async def _call_flow_async(
        self, asked: Asked, flow: Flow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        for future in pending((*args, *kwargs.values())):
            if not future.done():
                await wake_on(future.on_done)
        values = tuple(flow.validate(resolved(args), resolved(kwargs)).values())
        return await self._call_async(asked, values, {})

    def _ended(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a flow's arguments with the values of the futures among them, which it waits for."""
        for future in pending((*args, *kwargs.values())):
            if not future.done() and find_loop() is not None:
                message = f"{future} has not ended, and waiting for it here would stop its loop: await it first."
                raise UsageError(message)
            self._await_here(future)
        return resolved(args), resolved(kwargs)

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the journaled value of this call of `name`, making and journaling it the first time."""
        self.refuse_when_stopping()
        return self._call_here(Asked(name, spec_of(make), TaskOptions(name=name), kind="value"), (), ())

    def start_run(self, flow: Flow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunHandle[Any]:
        """Ask for a run of a flow: the same one whenever this body is run again."""
        self.refuse_when_stopping()
        given = flow.validate_given(*self._ended(args, kwargs))
        values = tuple(given.get(name, LeftOut()) for name in flow.spec.names)
        asked = Asked(flow.name, flow.spec, TaskOptions(name=flow.name), kind="start", flow=flow)
        return RunHandle(self._call_here(asked, values, ()), flow.name, self.line)

    def _call_here(self, asked: Asked, values: tuple[Any, ...], lazy: Sequence[Any]) -> Any:
        return self.hand_over(self.live_here(asked, values, lazy, self._frame()))

    def live_here(self, asked: Asked, values: tuple[Any, ...], lazy: Sequence[Any], frame: Frame) -> Settled:
        """Live a call's whole life in this thread."""
        for future in (*lazy, *asked.options.wait_for):
            self._await_here(future)
        with shield():
            begun = begin(self, asked, values, lazy, frame)
        return begun if isinstance(begun, Settled) else drive_here(self, begun)

    async def _call_async(self, asked: Asked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.refuse_when_stopping()
        values = asked.spec.bind(args, kwargs)
        return self.hand_over(await self.live_async(asked, values, self._frame()))

    @rests
    async def live_async(self, asked: Asked, values: tuple[Any, ...], frame: Frame) -> Settled:
        """Live it on this loop."""
        lazy = pending(values)
        for future in (*lazy, *asked.options.wait_for):
            if not future.done():
                await wake_on(future.on_done)
        self.refuse_when_stopping()
        begun = begin(self, asked, values, lazy, frame)
        return begun if isinstance(begun, Settled) else await drive_async(self, begun)

    def submit(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Begin a task run and return its future at once."""
        with shield():
            self.refuse_when_stopping()
            values = task.spec.bind(args, kwargs)
            future: Future[Any] = Future(task.key, self.wait_for)
            if not self._is_inline(task):
                self.start(task, values, self._frame(), lambda settled: self._settle(future, settled))
                return future
        self.start(task, values, self._frame(), lambda settled: self._settle(future, settled))  # it may be stopped
        return future

    def map(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Begin one task run per item, lazily."""
        with shield():
            self.refuse_when_stopping()
            return begin_map(self, task, args, kwargs, self._frame())

    def log(self, level: int, logger: str, message: str) -> None:
        """Keep a line that the body of the current frame wrote."""
        frame = find_frame()
        if frame is None:
            self.keep_line(LogLine(self.clock.now(), level, logger, None, self.run.attempt, message), None, None)
        else:
            line = LogLine(self.clock.now(), level, logger, frame.seq, frame.attempt, message)
            self.keep_line(line, frame.task, frame.map_index)

    def keep_line(self, line: LogLine, task: str | None, map_index: int | None) -> None:
        """Keep a line, and show it to whoever looks on."""
        self.journal.log(line)
        telemetry.emit("log", (self, task, map_index, line))

    def _frame(self) -> Frame:
        frame = find_frame()
        assert frame is not None  # a task asked its frame for us
        return frame

    def count(self, frame: Frame, mark: bytes) -> int:
        """Count a call of a body; return how many such calls it made before."""
        with self._lock:
            return frame.calls.count(mark)

    @property
    def begun(self) -> int:
        """Grows with every task run that is begun."""
        return self._seq

    def next_seq(self) -> int:
        """Give a new task run its place in the run."""
        with self._lock:
            self._seq += 1
            return self._seq - 1

    # --- calls that are not waited for

    def start(
        self,
        task: Task[Any, Any],
        values: tuple[Any, ...],
        frame: Frame,
        settle: Settle,
        *,
        map_index: int | None = None,
    ) -> None:
        """Begin a task run as soon as what it depends on has ended; tell `settle` how it ended."""
        asked = Asked(task.key, task.spec, task.options, map_index=map_index)
        self.outstanding.opened()

        def end(settled: Settled) -> None:
            settle(settled)
            self.outstanding.closed()

        if task.spec.is_async and task.options.pool is None and not self._executor(task.options).isolated:
            self._start_async(asked, values, frame, end)
            return
        lazy = pending(values)
        if self._is_inline(task):
            self._start_here(asked, values, lazy, frame, end)
            return
        left = [future for future in (*lazy, *task.options.wait_for) if not future.done()]
        if not left:
            self._launch(asked, values, lazy, frame, end)
            return
        self.still.rest()
        launch = Countdown(len(left), lambda: self._launch(asked, values, lazy, frame, end), self.still.rise)
        for future in left:
            future.on_done(launch)

    def _is_inline(self, task: Task[Any, Any]) -> bool:
        if task.spec.is_async or task.options.pool is not None:
            return False
        return self._executor(task.options).name == "inline"

    def _start_here(
        self, asked: Asked, values: tuple[Any, ...], lazy: Sequence[Any], frame: Frame, end: Settle
    ) -> None:
        """Live the whole life right here: user code must never run on a thread that others' commits wait for."""
        try:
            settled = self.live_here(asked, values, lazy, frame)
        except BaseException as error:
            end(self._lost_settled(asked.key, error))
            if not isinstance(error, Exception):
                raise
            return
        end(settled)

    def _launch(self, asked: Asked, values: tuple[Any, ...], lazy: Sequence[Any], frame: Frame, end: Settle) -> None:
        if self.stopping is not None or self.closing:
            end(Settled(task=asked.key, seq=-1, state=State.CANCELLED, reason="cancelled"))
            return
        try:
            begun = begin(self, asked, values, lazy, frame)
        except BaseException as error:  # it must reach whoever waits, not this thread
            end(Settled(task=asked.key, seq=-1, state=State.FAILED, error=error))
            return
        if isinstance(begun, Settled):
            end(begun)
            return
        job = Job(self, begun, end)
        self.outstanding.add_job(job)
        job.step()

    def _start_async(self, asked: Asked, values: tuple[Any, ...], frame: Frame, end: Settle) -> None:
        loop = find_loop()
        if loop is not None:
            self.still.rest()  # whether it does is seen on its loop

        async def live_on() -> None:
            release = self.outstanding.adopt()
            try:
                settled = await self.live_async(asked, values, frame)
            except BaseException as error:  # it must reach whoever waits
                settled = self._lost_settled(asked.key, self.translate(error))
            finally:
                release()
            if loop is not None:
                self.still.rise()
            end(settled)

        if loop is None:
            asyncio.run_coroutine_threadsafe(live_on(), self.session.loop)
        else:
            task = loop.create_task(live_on())
            self._kept.add(task)
            task.add_done_callback(self._kept.discard)

    @staticmethod
    def _lost_settled(key: str, error: BaseException) -> Settled:
        if isinstance(error, Cancelled):
            return Settled(task=key, seq=-1, state=State.CANCELLED, reason="cancelled")
        return Settled(task=key, seq=-1, state=State.FAILED, error=error)

    def job_failed(self, job: Job, error: BaseException) -> None:
        """Hear that a job cannot go on: the lease is lost, or the store."""
        self.outstanding.drop_job(job)
        job.settle(self._lost_settled(job.call.row.task, error))

    # --- attempts

    def executor_of(self, call: Call) -> Executor:
        """Return where a call executes."""
        return self._executor(call.options)

    def _executor(self, options: TaskOptions) -> Executor:
        return self.session.executor(options.executor if options.executor is not None else self.flow.options.executor)

    def runs_here(self, call: Call) -> bool:
        """Tell whether a direct call runs in the caller's own thread: nothing needs to be able to kill it there."""
        return call.flow is not None or (call.options.timeout is None and not self.executor_of(call).isolated)

    def begin_attempt(self, call: Call, row: TaskRun) -> None:
        """Note that an attempt begins, or that it was sent away; it rides on the next commit."""
        self.refuse_when_stopping()
        row.started_at = row.started_at or self.clock.now()
        call.row = row
        self.journal.note(row)
        self.under_way[row.seq] = row
        telemetry.emit("task_run.running", (self, row))
        announce(call.options.hooks, "started", self.flow.name, row)

    def saved(self, call: Call, command: Save) -> None:
        """Hear that a task run's row is durable."""
        row = call.row = command.row
        if command.settled is None:
            self.under_way[row.seq] = row
        else:
            self.under_way.pop(row.seq, None)
        telemetry.emit("task_run.saved", (self, row, command))
        announce(call.options.hooks, str(row.state), self.flow.name, row, command.settled)

    # --- ends

    def hand_over(self, settled: Settled) -> Any:
        """Give a direct call its value, or raise its failure; a failure that is not critical gives None.

        A call that ended because the run is being stopped raises the stop itself: the attempt has taken the signal,
        and the body's ``except Exception`` must not swallow it.
        """
        if settled.state is not State.SUCCEEDED:
            self.refuse_when_stopping()
        if not settled.critical and settled.state in {State.FAILED, State.CRASHED}:
            return None
        return settled.unwrap()

    def _settle(self, future: Future[Any], settled: Settled) -> None:
        if settled.state in {State.FAILED, State.CRASHED} and settled.critical:
            self.failed.append((future, settled))
        future.settle(settled)

    def saver(self) -> Saver:
        """Return what saves for the tasks of the running loop."""
        loop = asyncio.get_running_loop()
        saver = self._savers.get(id(loop))
        if saver is None:
            saver = self._savers[id(loop)] = Saver(self, loop)
        return saver

    def drain_here(self) -> None:
        """Wait until everything that was begun has ended."""
        while not self.outstanding.is_idle:
            event = threading.Event()
            self.outstanding.when_idle(lambda _, event=event: event.set())  # type: ignore[misc]
            self.rest(event)

    @rests
    async def drain_async(self) -> None:
        """Wait, on this loop, until everything that was begun has ended."""
        if not self.outstanding.is_idle:
            await wake_on(self.outstanding.when_idle)

    # --- waiting and stopping

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for an event in this thread: its slot is given up meanwhile, and a stop is heard."""
        with self.session.blocked(), waking(event.set):
            return event.wait(timeout)

    def rest(self, event: threading.Event) -> None:
        """Wait in this thread for another part of the run, or for something that is awaited outside.

        Raises:
            Suspended: When the run gives up its process meanwhile.
        """
        with self.still.body():
            self.wait(event, None)

    def wait_for(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait as user code asks to: without end, which may outlast this process, or so many seconds, in it."""
        if timeout is not None:
            return self.wait(event, timeout)
        self.rest(event)
        return event.is_set()

    def _await_here(self, future: Future[Any] | MapResults[Any]) -> None:
        while not future.done():
            event = threading.Event()
            future.on_done(lambda _, event=event: event.set())  # type: ignore[misc]
            self.rest(event)
            self.refuse_when_stopping()

    def pause(self, seconds: float, wait: Callable[[threading.Event, float], object] | None = None) -> None:
        """Wait in this thread, unless the run is stopped."""
        event = threading.Event()
        release = self.outstanding.on_stop(lambda _: event.set())
        try:
            (wait or self.wait)(event, seconds)
        finally:
            release()
        self.refuse_when_stopping()

    def pause_until(self, due_at: int, seq: int | None) -> None:
        """Wait in this thread until an instant; the process may be given up meanwhile."""

        def wait(event: threading.Event, seconds: float) -> None:
            with self.still.awaiting(self, "timer", seq=seq, due_at=due_at), self.still.body():
                self.wait(event, seconds)

        self.pause(max(0.0, (due_at - self.clock.now()) / SECOND), wait)

    @property
    def stopping(self) -> BaseException | None:
        """What the run is being stopped with, if it is."""
        return self.outstanding.signal

    def refuse_when_stopping(self) -> None:
        """Raise what the run is being stopped with, if it is."""
        if self.outstanding.signal is not None:
            raise self.outstanding.signal

    def translate(self, error: BaseException) -> BaseException:
        """Name the cause of an asyncio cancellation: the run's own stop where there is one, else the user's code."""
        if isinstance(error, (asyncio.CancelledError, Withdrawn)):
            return self.stopping or Withdrawn(str(error))
        return error

    def stop(self, signal: BaseException) -> None:
        """Stop the run: its body, what runs, what waits. The first signal counts."""
        if self.outstanding.claim(signal):
            self.spread(signal)

    def spread(self, signal: BaseException) -> None:
        """Stop everything with the signal that was claimed."""
        self.outstanding.spread(signal)
        telemetry.emit("run.stopping", (self, signal))
        self.body.stop(signal)
        self.session.wake_main()
