"""What stands for a result that may not be there yet: `Future` for one call, `Results` for a map.

Passing either to another task hands on its value, also inside lists, tuples and dicts. A `Results` is a
lazy list of *values*: iterating it waits for each in turn; ``.futures`` gives the futures. It keeps its
items packed, so that a map over a million of them fits in little memory.
"""

from __future__ import annotations

import threading
from array import array
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec

from ostinato.errors import RunCancelledError, TaskFailedError, UpstreamError
from ostinato.outcomes import Cancel, Skip
from ostinato.states import State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
_FP = 16
_GROWN = -2


class Settled(msgspec.Struct, kw_only=True):
    """How a task run ended, for whoever called it."""

    task: str
    seq: int
    state: State
    reason: str | None = None
    value: Any = None
    error: BaseException | None = None
    fp: bytes | None = None
    """The content fingerprint of the value."""
    changed: bool = False
    """It ran in this pass and its result is not the one it had before."""
    critical: bool = True
    message: str = ""

    def unwrap(self) -> Any:
        """Return the value of a success, the outcome that the task itself returned, or raise the failure."""
        if self.state is State.SUCCEEDED or isinstance(self.value, (Skip, Cancel)):
            return self.value
        if self.error is not None:
            raise self.error
        raise self._missing()

    def _missing(self) -> Exception:
        name = self.task
        if self.state is State.CANCELLED:
            return RunCancelledError(f"{name} was cancelled before it ended.")
        if self.state is State.SKIPPED:
            return UpstreamError(f"{name} did not run: {self.message or self.reason}.")
        return TaskFailedError(f"{name} {self.state}: {self.message or self.reason or 'no more is known'}.")


_lock = threading.Lock()
"""Guards the moment in which any future is settled: held for nanoseconds, so one serves all."""


class Future(Generic[R_co]):
    """A task run that has begun: its result, when it is there.

    Pass it on to another task, await it, or ask for its `result`.
    """

    __slots__ = ("__weakref__", "_callbacks", "_settled", "_wait", "looked_at", "task")

    def __init__(self, task: str, wait: Callable[[threading.Event, float | None], bool]) -> None:
        self.task = task
        self.looked_at = False
        self._settled: Settled | None = None
        self._callbacks: list[Callable[[Settled], None]] | None = []
        self._wait = wait

    def done(self) -> bool:
        """Tell whether it has ended, well or not."""
        return self._settled is not None

    @property
    def state(self) -> State:
        """Where it stands; ``running`` covers what has not begun yet."""
        return State.RUNNING if self._settled is None else self._settled.state

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the result.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: If it has not ended by then.
            Exception: What the task raised.
        """
        value: R_co = self.settled(timeout).unwrap()
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what the task raised, or None; the failure counts as seen to.

        Raises:
            TimeoutError: If it has not ended within `timeout` seconds.
        """
        settled = self.settled(timeout)
        try:
            settled.unwrap()
        except BaseException as error:  # that is the question
            return error
        return None

    def peek(self) -> Settled:
        """Return how it ended, where it has; that is no look at its failure. For the runtime."""
        assert self._settled is not None
        return self._settled

    def settled(self, timeout: float | None = None) -> Settled:
        """Wait for the end and return how it was."""
        self.looked_at = True
        if self._settled is None:
            event = threading.Event()
            self.on_settled(lambda _: event.set())
            if not self._wait(event, timeout):
                message = f"{self.task} has not ended within {timeout} s; it goes on."
                raise TimeoutError(message)
        assert self._settled is not None
        return self._settled

    @property
    def on_done(self) -> Callable[[Callable[[Settled], None]], None]:
        """The same as `on_settled`; maps have it too."""
        return self.on_settled

    def on_settled(self, callback: Callable[[Settled], None]) -> None:
        """Call back once it has ended, at once if it has; from any thread."""
        with _lock:
            if self._settled is None and self._callbacks is not None:
                self._callbacks.append(callback)
                return
        assert self._settled is not None
        callback(self._settled)

    def settle(self, settled: Settled) -> None:
        """Set how it ended. For the runtime."""
        with _lock:
            if self._settled is not None:
                return
            self._settled = settled
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(settled)

    @property
    def ref(self) -> R_co:
        """This future, typed as its value: to hand it on by keyword, or nested in other things.

        Nothing is waited for and it is still the future: good for handing on, not for use.
        """
        return cast("R_co", self)

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait for the result without holding a thread."""
        self.looked_at = True
        if self._settled is None:
            yield from wake_on(self.on_settled).__await__()
        assert self._settled is not None
        value: R_co = self._settled.unwrap()
        return value

    def __repr__(self) -> str:
        """Show the task and where it stands."""
        return f"<Future {self.task} {self.state}>"


def find_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or None."""
    import asyncio  # a quarter of the time that importing this package would take

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def wake_on(register: Callable[[Callable[[Any], None]], None]) -> asyncio.Future[Any]:
    """Return an asyncio future of this loop that is set when the registered callback is called, from anywhere."""
    loop = find_loop()
    assert loop is not None
    woken: asyncio.Future[Any] = loop.create_future()

    def wake(value: Any) -> None:
        if not woken.done():
            woken.set_result(value)

    def callback(value: Any) -> None:
        if find_loop() is loop:  # on the loop's own thread: no wake-up needed
            wake(value)
        else:
            loop.call_soon_threadsafe(wake, value)

    register(callback)
    return woken


class MapResults(Generic[R_co]):
    """The results of a map, in the order of its items, as they come.

    To a type checker it is a ``list`` of values, and behaves like one to read: iterate it, index it, take
    its length, pass it to another task. Each of these waits for what it needs.
    """

    def __init__(self, task: str, wait: Callable[[threading.Event, float | None], bool]) -> None:
        self.task = task
        self.looked_at = False
        self.expected: int | None = None
        """How many items there will be, where that is known before they have come."""
        self._wait = wait
        self._values: list[Any] = []
        self._fps = bytearray()
        self._seqs = array("q")
        self._ended = bytearray()
        self._open = True
        self._left = 0
        self.changed = False
        """Whether any item ran in this pass and has another result than before."""
        self._waiting: list[tuple[int | None, Callable[[Any], None]]] = []
        self._lock = threading.Lock()

    # --- for the runtime

    def add(self) -> int:
        """Make room for one more item and return its place."""
        with self._lock:
            self._values.append(None)
            self._fps += bytes(_FP)
            self._seqs.append(-1)
            self._ended.append(0)
            self._left += 1
            index = len(self._values) - 1
            due = [callback for wanted, callback in self._waiting if wanted == _GROWN]
            if due:
                self._waiting = [(w, c) for w, c in self._waiting if w != _GROWN]
        for callback in due:
            callback(None)
        return index

    def settle(self, index: int, settled: Settled) -> None:
        """Set how an item ended."""
        with self._lock:
            kept = settled.value if settled.state is State.SUCCEEDED else settled
            self._values[index] = kept
            self._seqs[index] = settled.seq
            self._fps[index * _FP : (index + 1) * _FP] = settled.fp or bytes(_FP)
            self._ended[index] = 1
            self._left -= 1
            self.changed = self.changed or settled.changed
            due = self._take_due()
        for callback in due:
            callback(None)

    def close(self) -> None:
        """Say that no more items come."""
        with self._lock:
            self._open = False
            due = self._take_due()
        for callback in due:
            callback(None)

    def _take_due(self) -> list[Callable[[Any], None]]:
        if not self._waiting:
            return []
        due = [callback for wanted, callback in self._waiting if self._is_ready(wanted)]
        if due:
            self._waiting = [(w, c) for w, c in self._waiting if not self._is_ready(w)]
        return due

    def _is_ready(self, index: int | None) -> bool:
        if index is None:
            return not self._open and self._left == 0
        if index < 0:
            return not self._open
        return (index < len(self._ended) and bool(self._ended[index])) or (not self._open and index >= len(self._ended))

    def on_done(self, callback: Callable[[Any], None]) -> None:
        """Call back once every item has ended, at once if they have; from any thread."""
        self.on_ready(None, callback)

    def on_ready(self, index: int | None, callback: Callable[[Any], None]) -> None:
        """Call back when an item has ended or cannot come; None: all have; -1: their number is known; -2: one more."""
        with self._lock:
            if not self._is_ready(index):
                self._waiting.append((index, callback))
                return
        callback(None)

    @property
    def seqs(self) -> array[int]:
        """The `seq` of the task runs, in order; 0 or more."""
        return self._seqs

    @property
    def fps(self) -> bytes:
        """The fingerprints of the results, 16 bytes each, in order."""
        return bytes(self._fps)

    def settled(self, index: int) -> Settled | None:
        """Return how an item ended, if it has."""
        if not self._ended[index]:
            return None
        value = self._values[index]
        if isinstance(value, Settled):
            return value
        fp = bytes(self._fps[index * _FP : (index + 1) * _FP])
        return Settled(task=self.task, seq=self._seqs[index], state=State.SUCCEEDED, value=value, fp=fp)

    def failures(self) -> Iterator[Settled]:
        """Yield how each item ended that did not succeed, of those that have ended."""
        return (value for value in self._values if isinstance(value, Settled))

    def raw(self) -> list[Any]:
        """Return the values as they are kept: a `Settled` where an item did not succeed."""
        return self._values

    def count(self) -> tuple[int, int]:
        """Return how many items there are so far and how many have ended."""
        return len(self._values), len(self._values) - self._left

    # --- for users

    def done(self) -> bool:
        """Tell whether every item has ended."""
        return self._is_ready(None)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until every item has ended, well or not.

        Raises:
            TimeoutError: If that takes longer than `timeout` seconds.
        """
        self._until(None, timeout)

    def result(self, timeout: float | None = None) -> list[R_co]:
        """Wait for all and return the values as a list; raise the first failure in their order."""
        self.looked_at = True
        self._until(None, timeout)
        return [self._value(i) for i in range(len(self._values))]

    @property
    def futures(self) -> list[Future[R_co]]:
        """The futures of the items, once their number is known."""
        self.looked_at = True
        self._until(-1, None)
        return [self._future(i) for i in range(len(self._values))]

    def _future(self, index: int) -> Future[R_co]:
        future: Future[R_co] = Future(self.task, self._wait)

        def settle(_: Any) -> None:
            settled = self.settled(index)
            if settled is not None:
                future.settle(settled)

        self.on_ready(index, settle)
        return future

    def future_at(self, index: int) -> Future[R_co] | None:
        """Wait until there is an item at that place and return its future; None when there is none to come."""
        while True:
            with self._lock:
                there, over = index < len(self._values), not self._open
            if there or over:
                return self._future(index) if there else None
            event = threading.Event()
            self.on_ready(_GROWN, lambda _, event=event: event.set())  # type: ignore[misc]
            if index < len(self._values) or not self._open:
                continue
            self._wait(event, 1.0)

    def _value(self, index: int) -> Any:
        value = self._values[index]
        return value.unwrap() if isinstance(value, Settled) else value

    def _until(self, index: int | None, timeout: float | None) -> None:
        if self._is_ready(index):
            return
        event = threading.Event()
        self.on_ready(index, lambda _: event.set())
        if not self._wait(event, timeout):
            message = f"The map of {self.task} has not ended within {timeout} s; it goes on."
            raise TimeoutError(message)

    def __iter__(self) -> Iterator[R_co]:
        """Yield the values in order, waiting for each."""
        self.looked_at = True
        index = 0
        while True:
            self._until(index, None)
            if index >= len(self._values):
                return
            yield self._value(index)
            index += 1

    async def __aiter__(self) -> AsyncIterator[R_co]:
        """Yield the values in order, waiting for each without holding a thread."""
        self.looked_at = True
        index = 0
        while True:
            if not self._is_ready(index):
                await wake_on(lambda callback, index=index: self.on_ready(index, callback))  # type: ignore[misc]
            if index >= len(self._values):
                return
            yield self._value(index)
            index += 1

    def __len__(self) -> int:
        """Return the number of items, once it is known."""
        self._until(-1, None)
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> R_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[R_co]: ...
    def __getitem__(self, index: int | slice) -> R_co | list[R_co]:
        """Return a value, or a list of them, waiting for it."""
        self.looked_at = True
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        self._until(index, None)
        if not 0 <= index < len(self._values):
            message = f"The map of {self.task} has {len(self._values)} items; there is no item {index}."
            raise IndexError(message)
        value: R_co = self._value(index)
        return value

    def __await__(self) -> Generator[Any, None, list[R_co]]:
        """Wait for all without holding a thread; the values as a list."""
        self.looked_at = True
        if not self._is_ready(None):
            yield from wake_on(lambda callback: self.on_ready(None, callback)).__await__()
        return [self._value(i) for i in range(len(self._values))]

    def __repr__(self) -> str:
        """Show the task and how far it is."""
        items, ended = self.count()
        return f"<Results of {self.task}: {ended} of {items}{'+' if self._open else ''}>"


if TYPE_CHECKING:

    class Results(list[R], Future[list[R]]):  # type: ignore[misc]  # at run time it is neither
        """The results of a map: see `MapResults`. To a type checker a list, so that whatever takes one takes it."""

        task: str
        looked_at: bool

        @property
        def futures(self) -> Sequence[Future[R]]:
            """The futures of the items, once their number is known."""

        def __aiter__(self) -> AsyncIterator[R]:
            """Yield the values in order, waiting for each without holding a thread."""

        def wait(self, timeout: float | None = None) -> None:
            """Wait until every item has ended, well or not."""

else:
    Results = MapResults


class Unmapped:
    """An argument of a map that is the same for every item."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def unmapped(value: R) -> R:
    """Pass the same value to every item of a map: ``load.map(days, client=unmapped(client))``.

    Typed as the value itself, so that the user's own signature checks it.
    """
    return cast("R", Unmapped(value))
