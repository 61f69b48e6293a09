"""What runs now, and the Protocols by which the floors meet without knowing each other.

A contextvar holds the `Frame` of the body that runs: a flow's or a task's. Calling a task asks the frame's
`Runtime`; `ostinato.runtime` implements it. With no frame, a task is just its function.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ostinato.clock import to_datetime

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime

    from ostinato.clock import Clock
    from ostinato.future import Future, Results
    from ostinato.handle import RunHandle


class Calls:
    """How often each call was made in one body: packed, since there may be a million that are made once."""

    __slots__ = ("_more", "_once")

    def __init__(self) -> None:
        self._once: set[int] = set()
        self._more: dict[int, int] = {}

    def count(self, mark: bytes) -> int:
        """Count a call; return how often it was made before. Not safe between threads."""
        short = int.from_bytes(mark[:8], "big")  # 64 of its 128 bits: two of a body's calls do not meet by chance
        if short not in self._once:
            self._once.add(short)
            return 0
        n = self._more[short] = self._more.get(short, 0) + 1
        return n


class Frame(msgspec.Struct, kw_only=True):
    """The body that runs: a flow's, or one attempt of a task."""

    runtime: Runtime | None
    """What its calls go to; None in another process, where a task called is just its function."""
    run_id: str
    flow: str
    task: str | None = None
    """The task's key; None in the body of a flow."""
    task_run_id: str = ""
    seq: int | None = None
    attempt: int = 1
    map_index: int | None = None
    partition: str | None = None
    scheduled_at: int | None = None
    clears: int = 0
    tags: tuple[str, ...] = ()
    state: MutableMapping[str, Any] = {}
    unfinished: dict[str, str] = {}
    """What was printed since the last newline, by stream."""
    emit: Callable[[str, str, str], None] | None = None
    """Where there is no runtime: how the body emits an event all the same."""
    calls: Calls = msgspec.field(default_factory=Calls)
    """How often each (task, fingerprint) was called in this body."""


_frame: ContextVar[Frame | None] = ContextVar("ostinato_frame", default=None)


def find_frame() -> Frame | None:
    """Return the frame of the body that runs here, or None outside a run."""
    return _frame.get()


set_frame = _frame.set
reset_frame = _frame.reset


class Ended(msgspec.Struct, kw_only=True, gc=False):
    """How one attempt ended, told by whoever ran it."""

    value: Any = None
    error: BaseException | None = None
    started_at: int
    finished_at: int
    lost: str | None = None
    """Set when the place it ran in died (a killed process): what is known of it."""


class Note(msgspec.Struct, frozen=True):
    """Something an attempt in another process says while it runs."""

    kind: str
    """``log`` with (level, logger, message), ``state`` with (name, value) or ``emit`` with (kind, key, data)."""
    body: tuple[Any, ...]


class Handle(Protocol):
    """One piece of submitted work."""

    def stop(self, signal: BaseException) -> None:
        """Stop the work: drop it if it has not begun, else end it as surely as the executor can.

        `done` is then called exactly once, soon, with `signal` as the error unless the work ended by
        itself first.
        """
        ...


class Executor(Protocol):
    """How the task runs of a run execute: threads, processes, and later Dask and Ray."""

    @property
    def name(self) -> str:
        """The name it goes by: ``threads``, ``processes``."""
        ...

    @property
    def slots(self) -> int:
        """How many pieces of work can run at once."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether work runs in another process: then it must pickle, and can be killed for certain."""
        ...

    def submit(
        self, work: Callable[[], Ended], done: Callable[[Ended], None], note: Callable[[Note], None] | None = None
    ) -> Handle:
        """Run `work` when there is a slot, then call `done` once, from any thread.

        Args:
            work: What to run. It catches the user's exceptions itself and returns how it ended. Where
                the executor is isolated it is pickled (by cloudpickle).
            done: Takes how it ended. Must be quick and not raise.
            note: Takes what work in another process says while it runs.
        """
        ...

    def blocked(self) -> AbstractContextManager[object]:
        """Mark a stretch in which work waits for other work: ``with executor.blocked(): future.wait()``.

        A pool may run one piece of work more meanwhile, so that nested tasks cannot deadlock. Outside
        the executor's own threads it does nothing.
        """
        ...

    def close(self) -> None:
        """Stop what still runs and let go of threads and processes."""
        ...


class Runtime(Protocol):
    """What a task asks when it is called inside a run. `ostinato.runtime.runner` implements it.

    `task` is an `ostinato.authoring.task.Task`; floors above know it, this one does not.
    """

    def call(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a task and return its value, or a coroutine of it if the task is async."""
        ...

    def submit(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Begin a task run and return its future at once."""
        ...

    def map(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Results[Any]:
        """Begin one task run per item, lazily."""
        ...

    def call_flow(self, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a flow as a child run, inline; a coroutine of its value if the flow is async."""
        ...

    def start_run(self, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunHandle[Any]:
        """Ask for a run of a flow that a worker carries out: the same one whenever this body is run again."""
        ...

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the journaled value of this call of `name`, making and journaling it the first time."""
        ...

    def log(self, level: int, logger: str, message: str) -> None:
        """Keep a line that the body of the current frame wrote."""
        ...

    @property
    def clock(self) -> Clock:
        """What tells the time in this run."""
        ...

    @property
    def outside(self) -> Outside:
        """How the body reaches what is outside of its run: times, events, people."""
        ...


class Outside(Protocol):
    """What `ostinato.waiting` asks of a run. `ostinato.runtime.outside` implements it."""

    def wait(self, what: Any) -> Any:
        """Wait durably for a `Sleeping`, `Awaiting` or `Asking` and return what came.

        Where a loop runs in this thread: a coroutine of it.
        """
        ...

    def emit(self, kind: str, key: str, data: str) -> None:
        """Emit an event, once however often this body is run."""
        ...


class Current:
    """What the code that runs now may know of itself: ``from ostinato import current``."""

    __slots__ = ()

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return _get().run_id

    @property
    def flow(self) -> str:
        """The name of the flow."""
        return _get().flow

    @property
    def task(self) -> str | None:
        """The key of the task; None in the body of a flow."""
        return _get().task

    @property
    def task_run_id(self) -> str | None:
        """The identity of the task run; None in the body of a flow."""
        return _get().task_run_id or None

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1, over retries, recoveries and clears."""
        return _get().attempt

    @property
    def map_index(self) -> int | None:
        """The place in a map, from 0; None outside a map."""
        return _get().map_index

    @property
    def partition(self) -> str | None:
        """The key of the partition, where there is one."""
        return _get().partition

    @property
    def scheduled_at(self) -> datetime | None:
        """When the run was due, aware, in UTC; None for a run that nobody scheduled."""
        instant = _get().scheduled_at
        return None if instant is None else to_datetime(instant)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the task, or of the run in the body of a flow."""
        return _get().tags

    @property
    def idempotency_key(self) -> str:
        """A key to give to outside systems: stable over retries and recoveries, new after a clear."""
        frame = _get()
        return f"{frame.run_id if not frame.task_run_id else frame.task_run_id}-{frame.clears}"

    @property
    def state(self) -> MutableMapping[str, Any]:
        """Small values that survive a crash inside the task, such as the id of an external job."""
        return _get().state

    @property
    def logger(self) -> logging.Logger:
        """A logger named after the task or the flow. Works outside a run too."""
        frame = _frame.get()
        name = "ostinato.user" if frame is None else f"ostinato.user.{frame.task or frame.flow}"
        return logging.getLogger(name)

    def __bool__(self) -> bool:
        """Whether anything runs here."""
        return _frame.get() is not None

    def __repr__(self) -> str:
        """Show where we are."""
        frame = _frame.get()
        if frame is None:
            return "<current: outside a run>"
        return f"<current: run {frame.run_id}, {frame.task or frame.flow}, attempt {frame.attempt}>"


current = Current()


def _get() -> Frame:
    frame = _frame.get()
    if frame is None:
        message = "`current` knows nothing outside a run: call it inside a flow or a task that runs."
        raise RuntimeError(message)
    return frame
