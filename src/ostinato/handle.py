"""What stands for a run that was asked for by ``flow.start``: `RunHandle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from ostinato.errors import UsageError
from ostinato.future import wake_on

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from ostinato.records import Run
    from ostinato.states import State

R_co = TypeVar("R_co", covariant=True)


class Line(Protocol):
    """How a handle reaches its run. `ostinato.runtime.line` implements it, for inside a run and outside."""

    def find(self, run_id: str) -> Run:
        """Return the run as it is now."""
        ...

    def has_ended(self, run_id: str) -> bool:
        """Tell whether it has ended."""
        ...

    def wait(self, run_id: str, timeout: float | None) -> bool:
        """Wait for its end in this thread; tell whether it came."""
        ...

    def awaiting(self, run_id: str) -> AbstractContextManager[object]:
        """Note that its end is awaited while the context lasts."""
        ...

    def on_ended(self, run_id: str, callback: Callable[[], None]) -> Callable[[], object]:
        """Call back once it has ended, from any thread; returns what ends that."""
        ...

    def value(self, run_id: str) -> Any:
        """Return what the run, which has ended, returned, or raise what became of it."""
        ...

    def cancel(self, run_id: str) -> Run:
        """Ask it, and its child runs, to stop."""
        ...


class RunHandle(Generic[R_co]):
    """A run that was asked for: how it stands, and its result when that is there.

    In the body of a flow `result` and ``await`` are durable waits: the body may be run again in another process
    meanwhile, and goes on where it was. `state` and `done` tell how things stand at the moment, which may be
    another one when the body is run again; do not decide by them which tasks to call.
    """

    __slots__ = ("__weakref__", "_line", "flow", "id")

    def __init__(self, id: str, flow: str, line: Line | None = None) -> None:  # noqa: A002  # the word for it
        self.id = id
        self.flow = flow
        """The flow's name."""
        self._line = line

    @property
    def line(self) -> Line:
        """What it reaches its run by; one that came from another process has none.

        Raises:
            UsageError: If there is none.
        """
        if self._line is None:
            message = (
                f"The handle of run {self.id} came from another process, where nothing can be asked of it. Take its "
                "result where it was started, and pass that on."
            )
            raise UsageError(message)
        return self._line

    @property
    def state(self) -> State:
        """Where it stands now."""
        return self.line.find(self.id).state

    def done(self) -> bool:
        """Tell whether it has ended, well or not."""
        return self.line.has_ended(self.id)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, well or not.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: If it has not ended by then.
        """
        if not self.line.wait(self.id, timeout):
            message = f"Run {self.id} of {self.flow} has not ended within {timeout} s; it goes on."
            raise TimeoutError(message)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for what the flow returns.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: If it has not ended by then.
            RunCancelledError: If it was cancelled.
            RunFailedError: If it failed or crashed; the message says how.
            ResultError: If its result was not stored, or cannot be read here.
        """
        self.wait(timeout)
        return cast("R_co", self.line.value(self.id))

    def cancel(self) -> None:
        """Ask it, and its child runs, to stop; nothing happens if it has ended."""
        self.line.cancel(self.id)

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait for the result without holding a thread."""
        line = self.line
        if not line.has_ended(self.id):
            with line.awaiting(self.id):
                dropped: list[Callable[[], object]] = []
                woken = wake_on(lambda wake: dropped.append(line.on_ended(self.id, lambda: wake(None))))
                try:
                    yield from woken.__await__()
                finally:
                    dropped[0]()
        return cast("R_co", line.value(self.id))

    def __repr__(self) -> str:
        """Show the flow and the id."""
        return f"<RunHandle {self.id} of {self.flow}>"

    def __ostinato_fingerprint__(self) -> tuple[str, str]:
        """Count, as an argument, as the run it stands for."""
        return "run", self.id

    def __reduce__(self) -> Any:
        """Pickle as the name of its run."""
        return RunHandle, (self.id, self.flow)
