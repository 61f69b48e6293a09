"""Where user code is called, and only here: one attempt of a task, a flow's body, a hook."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from ostinato.authoring.spec import Spec, spec_of
from ostinato.clock import Clock, SystemClock
from ostinato.context import Ended, Frame, Note, reset_frame, set_frame
from ostinato.executors.child import send_note
from ostinato.outcomes import TimedOut, Withdrawn
from ostinato.runtime.capture import Bare, captured, end_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ostinato.context import Runtime
    from ostinato.records import Run, TaskRun
    from ostinato.runtime.capture import Sink


def task_frame(
    run: Run, row: TaskRun, *, runtime: Runtime | None, tags: tuple[str, ...], state: MutableMapping[str, Any]
) -> Frame:
    """Describe one attempt of a task to the code that runs in it."""
    return Frame(
        runtime=runtime,
        run_id=run.id,
        flow=run.flow,
        task=row.task,
        task_run_id=row.id,
        seq=row.seq,
        attempt=row.attempt,
        map_index=row.map_index,
        partition=row.partition,
        scheduled_at=run.scheduled_at,
        clears=row.clears,
        tags=tags,
        state=state,
    )


def attempt_here(
    spec: Spec, values: tuple[Any, ...], frame: Frame, clock: Clock, origin: Callable[[int], str] | None
) -> Ended:
    """Run one attempt of a sync task in this thread.

    Args:
        spec: The task's function.
        values: One per parameter.
        frame: What the attempt is.
        clock: Tells when it began and ended.
        origin: Says where an argument came from, for the message of a type that does not fit; None to
            leave types unchecked.
    """
    token = set_frame(frame)
    started_at = clock.now()
    try:
        if origin is not None:
            spec.check(values, origin)
        value = spec.call(values)
        if origin is not None:
            spec.check_result(value)
        return Ended(value=value, started_at=started_at, finished_at=clock.now())
    except BaseException as error:  # whatever user code raises is how the attempt ended
        return Ended(error=error, started_at=started_at, finished_at=clock.now())
    finally:
        end_lines(frame)
        reset_frame(token)


async def attempt_async(
    spec: Spec,
    values: tuple[Any, ...],
    frame: Frame,
    clock: Clock,
    origin: Callable[[int], str] | None,
    *,
    limit: float | None,
) -> Ended:
    """Run one attempt of an async task on this loop; see `attempt_here`."""
    token = set_frame(frame)
    started_at = clock.now()
    timeout = asyncio.timeout(limit) if limit is not None else None
    try:
        if origin is not None:
            spec.check(values, origin)
        if timeout is None:
            value = await spec.call(values)
        else:
            async with timeout:
                value = await spec.call(values)
        if origin is not None:
            spec.check_result(value)
        return Ended(value=value, started_at=started_at, finished_at=clock.now())
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            error = Withdrawn(str(error) or f"whoever awaited {spec.key} was cancelled")
        elif isinstance(error, TimeoutError) and timeout is not None and timeout.expired():
            error = TimedOut(f"{spec.key} ran longer than its timeout of {limit} s and was stopped.")
        return Ended(error=error, started_at=started_at, finished_at=clock.now())
    finally:
        end_lines(frame)
        reset_frame(token)


def body_here(spec: Spec, values: tuple[Any, ...], frame: Frame) -> Any:
    """Run the body of a sync flow in this thread."""
    token = set_frame(frame)
    try:
        return spec.call(values)
    finally:
        end_lines(frame)
        reset_frame(token)


async def body_async(spec: Spec, values: tuple[Any, ...], frame: Frame) -> Any:
    """Run the body of an async flow on this loop."""
    token = set_frame(frame)
    try:
        coroutine: Coroutine[Any, Any, Any] = spec.call(values)
        return await coroutine
    finally:
        end_lines(frame)
        reset_frame(token)


class RemoteAttempt:
    """One attempt, packed to run in another process: pickled there by the executor, with cloudpickle.

    What the attempt prints, logs and keeps in ``current.state`` comes back as notes while it runs.

    Args:
        fn: The task's function.
        values: One per parameter.
        frame: What the attempt is.
        kept: What is in ``current.state`` already.
        check: Whether to check types.
        echo: Whether what it prints goes to the terminal too, for no display shows it.
        memory: How many bytes its process may take, with all it starts; None for any number.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        values: tuple[Any, ...],
        frame: Frame,
        kept: dict[str, Any],
        *,
        check: bool,
        echo: bool,
        memory: int | None = None,
    ) -> None:
        self.fn, self.values, self.kept, self.check, self.echo = fn, values, kept, check, echo
        self.memory = memory
        self.place = {
            name: getattr(frame, name)
            for name in Frame.__struct_fields__
            if name not in {"runtime", "state", "emit", "calls"}
        }

    def __repr__(self) -> str:
        """Show the function."""
        return str(getattr(self.fn, "__qualname__", self.fn))

    def __call__(self) -> Ended:
        """Run it, over there."""
        state = NotedState(lambda: self.kept, lambda name, value: send_note(Note("state", (name, value))))
        frame = Frame(runtime=None, state=state, emit=_send_event, **self.place)
        spec = spec_of(self.fn)
        origin = (lambda _: "") if self.check else None
        sink: Sink = lambda level, logger, message: send_note(Note("log", (level, logger, message)))  # noqa: E731
        with captured(sink, display=Bare(echo=self.echo)):
            if spec.is_async:
                return asyncio.run(attempt_async(spec, self.values, frame, SystemClock(), origin, limit=None))
            return attempt_here(spec, self.values, frame, SystemClock(), origin)


def _send_event(kind: str, key: str, data: str) -> None:
    send_note(Note("emit", (kind, key, data)))


class NotedState(MutableMapping[str, Any]):
    """``current.state``: what an earlier attempt kept, loaded when it is first looked at; changes are told at once.

    Args:
        load: Gives what is kept already.
        tell: Takes each change, the value None for a name that is removed, and returns when it is durable.
    """

    __slots__ = ("_kept", "_load", "_tell")

    def __init__(self, load: Callable[[], dict[str, Any]], tell: Callable[[str, Any], object]) -> None:
        self._load, self._tell = load, tell
        self._kept: dict[str, Any] | None = None

    def _values(self) -> dict[str, Any]:
        if self._kept is None:
            self._kept = self._load()
        return self._kept

    def __getitem__(self, name: str) -> Any:
        """Return a value."""
        return self._values()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Keep a value; it is durable when this returns."""
        if not isinstance(name, str):
            message = f"current.state has names as keys, got {name!r}."
            raise TypeError(message)
        self._tell(name, value)
        self._values()[name] = value

    def __delitem__(self, name: str) -> None:
        """Forget a value."""
        del self._values()[name]
        self._tell(name, None)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values())

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._values())

    def __repr__(self) -> str:
        """Show the values."""
        return f"<current.state {self._values()!r}>"
