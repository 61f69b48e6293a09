"""Maps, lazily: items are taken from their iterables only as fast as they can run.

About 1.1 times as many items as there are slots are queued or running at a time, so a map over a million keys
or over a generator needs little memory. Items that take no time are queued deeper, or the threads would spend
theirs waking one another.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ostinato import telemetry
from ostinato.errors import DefinitionError
from ostinato.future import Future, MapResults, Settled, Unmapped, find_loop, wake_on
from ostinato.runtime.arguments import items_of
from ostinato.runtime.standstill import rests
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.authoring.task import Task
    from ostinato.context import Frame
    from ostinato.runtime.runner import Runner

_QUICK = 128
"""How many items may be under way when they take no time: enough for commits to be shared."""
_ASYNC = 512
"""How many async items, or items sent to another pool, may be under way: they hold no thread."""
_UNCOMMITTED = 2_048
"""How many items may wait for their commit."""


def is_mapped(value: Any) -> bool:
    """Tell whether an argument of `map` is mapped over: iterables are, but for text, bytes, mappings and frames."""
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping, Unmapped)):
        return False
    if isinstance(value, (Future, MapResults, Sequence, AbstractSet, Iterator, MappingView)):
        return True
    return isinstance(value, Iterable) and not hasattr(value, "columns") and not hasattr(value, "model_fields")


def begin_map(
    runner: Runner, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], frame: Frame
) -> MapResults[Any]:
    """Begin one task run per item of the iterables in the arguments.

    Raises:
        DefinitionError: If there is nothing to map over, or lengths that are known differ.
    """
    _check(task, args, kwargs)
    results: MapResults[Any] = MapResults(task.key, runner.wait_for)
    results.expected = _expected(args, kwargs)
    feed = _Feed(runner, task, args, kwargs, frame, results)
    runner.outstanding.opened()
    telemetry.emit("map.grew", (runner, task.key, feed.progress))
    loop = find_loop()
    if loop is not None and task.spec.is_async:
        keep = loop.create_task(feed.run_async())
        keep.add_done_callback(lambda _: None)
    else:
        inside = copy_context()  # the user's generator may call tasks and look at `current`
        threading.Thread(target=inside.run, args=(feed.run,), name=f"ostinato-map-{task.key}", daemon=True).start()
    return results


def _check(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    mapped = [value for value in (*args, *kwargs.values()) if is_mapped(value)]
    if not mapped:
        message = (
            f"{task.key}.map(...) has nothing to map over: give it at least one list, generator or other iterable "
            "(text, bytes, dicts and data frames count as one value each)."
        )
        raise DefinitionError(message)
    lengths = {len(value) for value in mapped if isinstance(value, (Sequence, AbstractSet))}
    if len(lengths) > 1:
        message = (
            f"{task.key}.map(...) maps over iterables of different lengths: {', '.join(map(str, sorted(lengths)))}. "
            "Wrap what is the same for every item in unmapped(...)."
        )
        raise DefinitionError(message)
    task.spec.bind(tuple(_plain(value) for value in args), {name: _plain(value) for name, value in kwargs.items()})


def _expected(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Tell how many items there will be, where a list or another map among the arguments says so."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, MapResults):
            if value.expected is not None:
                return value.expected
        elif is_mapped(value) and isinstance(value, (Sequence, AbstractSet, MappingView)):
            return len(value)
    return None


class Progress:
    """How far a map is, for whoever looks on; no more than numbers, so that it may be kept."""

    __slots__ = ("expected", "is_closed", "started", "under_way")

    def __init__(self, expected: int | None) -> None:
        self.expected = expected
        """How many items there will be; None while that is not known."""
        self.started = 0
        self.under_way = 0
        """Items that were started and have not ended."""
        self.is_closed = False
        """No more items come: `started` is their number."""


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Unmapped) else value


class _Feed:
    """Feeds one map: takes items from their iterables while there is room, and starts them."""

    def __init__(
        self, runner: Runner, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], frame: Frame,
        results: MapResults[Any],
    ) -> None:  # fmt: skip
        self.runner, self.task, self.args, self.kwargs = runner, task, args, kwargs
        self.frame, self.results = frame, results
        executor = runner.session.executor(task.options.executor or runner.flow.options.executor)
        is_async = task.spec.is_async and not executor.isolated
        holds_none = is_async or task.options.pool is not None
        self._room = _ASYNC if holds_none else max(2, math.ceil(1.1 * executor.slots))
        self._may_deepen = not holds_none and not executor.isolated
        self.progress = Progress(results.expected)
        self._began = runner.clock.now()
        self._lock = threading.Lock()
        self._space: list[Any] = []
        self._forget = runner.outstanding.on_stop(lambda _: self._wake())

    def run(self) -> None:
        """Feed from a thread of its own."""
        try:
            for future in self._sources():
                with self._resting():
                    future.wait() if isinstance(future, MapResults) else future.settled()
            for values in self._items():
                self._start(values)
                while self._is_full():
                    event = threading.Event()
                    if self._when_space(event.set):
                        with self._resting():
                            event.wait()
                if self._must_stop():
                    break
        except BaseException as error:  # the user's iterable failed: whoever takes the results hears it
            self._fail(error)
        finally:
            self._end()

    @contextmanager
    def _resting(self) -> Iterator[None]:
        """Wait for other parts of the run."""
        still = self.runner.still
        still.rest()
        try:
            yield
        finally:
            goes_on = still.rise()
        if not goes_on:
            self.runner.refuse_when_stopping()

    @rests
    async def run_async(self) -> None:
        """Feed from the loop that the flow runs on."""
        self.runner.still.rest()  # whether it does is seen on its loop
        try:
            for future in self._sources():
                await (
                    wake_on(lambda c, f=future: f.on_ready(None, c))  # type: ignore[misc]
                    if isinstance(future, MapResults)
                    else wake_on(future.on_settled)
                )
            for values in self._items():
                self._start(values)
                while self._is_full():
                    register: list[Any] = []
                    woken = wake_on(register.append)
                    if self._when_space(lambda register=register: register[0](None)):
                        await woken
                if self._must_stop():
                    break
        except BaseException as error:
            self._fail(error)
        finally:
            self.runner.still.rise()
            self._end()

    def _must_stop(self) -> bool:
        return self.runner.stopping is not None or self.runner.closing

    def _sources(self) -> list[Any]:
        return [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Future)]

    def _items(self) -> Iterator[tuple[Any, ...]]:
        def each(value: Any) -> Any:
            if isinstance(value, Future):
                return value.result()
            return _Settling(value) if isinstance(value, MapResults) else value

        args = tuple(each(value) if is_mapped(value) else value for value in self.args)
        kwargs = {name: each(value) if is_mapped(value) else value for name, value in self.kwargs.items()}
        for taken_args, taken_kwargs in items_of(
            args, kwargs, lambda v: is_mapped(v) or isinstance(v, _Settling), _plain
        ):
            yield self.task.spec.bind(taken_args, taken_kwargs)

    def _start(self, values: tuple[Any, ...]) -> None:
        with self._lock:
            self.progress.under_way += 1
            self.progress.started += 1
        index = self.results.add()
        self.runner.start(self.task, values, self.frame, lambda settled: self._settle(index, settled), map_index=index)
        if index % 256 == 0:
            telemetry.emit("map.grew", (self.runner, self.task.key, self.progress))

    def _settle(self, index: int, settled: Settled) -> None:
        if settled.state in {State.FAILED, State.CRASHED} and settled.critical:
            self.runner.failed.append((self.results, settled))
        self.results.settle(index, settled)
        with self._lock:
            self.progress.under_way -= 1
            space = self._space if not self._full() else []
            if space:
                self._space = []
        for wake in space:
            wake()

    def _wake(self) -> None:
        with self._lock:
            space, self._space = self._space, []
        for wake in space:
            wake()

    def _full(self) -> bool:
        if self._may_deepen and self.progress.started in (64, 512):
            took = (self.runner.clock.now() - self._began) / self.progress.started
            self._room = _QUICK if took < 2_000 else self._room  # noqa: PLR2004  # microseconds an item
        return self.progress.under_way >= self._room

    def _is_full(self) -> bool:
        with self._lock:
            return self._full() and not self._must_stop()

    def _when_space(self, wake: Any) -> bool:
        with self._lock:
            if not self._full() or self._must_stop():
                return False
            self._space.append(wake)
            return True

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, ValueError) and "zip()" in str(error):
            error = DefinitionError(
                f"{self.task.key}.map(...) maps over iterables of different lengths: {error}. "
                "Wrap what is the same for every item in unmapped(...)."
            )
        settled = Settled(task=self.task.key, seq=-1, state=State.FAILED, error=error)
        self.runner.failed.append((self.results, settled))
        self.results.settle(self.results.add(), settled)

    def _end(self) -> None:
        try:
            self._forget()
            self.results.close()
            self.progress.is_closed = True
            telemetry.emit("map.grew", (self.runner, self.task.key, self.progress))
        finally:
            self.runner.outstanding.closed()


class _Settling:
    """Iterates over another map's results as futures, so that each item starts when its own source has ended."""

    def __init__(self, results: MapResults[Any]) -> None:
        self._results = results

    def __iter__(self) -> Iterator[Any]:
        index = 0
        while (future := self._results.future_at(index)) is not None:
            yield future
            index += 1
