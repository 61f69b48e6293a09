"""`@task`: a function that a flow runs, retries, remembers and shows.

A `Task` is a value: its options never change, `with_options` makes another. Inside a run, calling it asks the
`Runtime` that the context holds; outside, it is just its function.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self, overload

from ostinato.authoring.placing import pool_of, resources_of
from ostinato.authoring.signature import Mapped, P, R, Signature, T_co
from ostinato.authoring.spec import Spec, spec_of
from ostinato.caching import Cache
from ostinato.context import Executor, find_frame
from ostinato.engine.rules import check_when
from ostinato.errors import DefinitionError, UsageError, nearest
from ostinato.hooks import Hooks
from ostinato.limits import Limit, to_limits
from ostinato.retry import Retry, to_retry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from ostinato.context import Runtime
    from ostinato.future import Future
    from ostinato.resources import Resources


class Keep:
    """Stands for "as it was" in `with_options`."""

    def __repr__(self) -> str:
        """Show up readably in signatures."""
        return "<as it was>"


KEEP = Keep()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """The options of a task, checked."""

    name: str | None = None
    retry: Retry | None = None
    timeout: float | None = None
    cache: Cache | None = None
    limits: tuple[Limit, ...] = ()
    resources: Resources | None = None
    executor: str | Executor | None = None
    pool: str | None = None
    when: str = "all_succeeded"
    critical: bool = True
    persist: bool = True
    hooks: Hooks = Hooks()  # noqa: RUF009  # it is frozen
    tags: tuple[str, ...] = ()
    key: str | None = None
    wait_for: tuple[Any, ...] = ()


class Submit:
    """Gives a task its `submit`; what an ``async def`` returns is seen through."""

    @overload
    def __get__(self, task: Task[P, Coroutine[Any, Any, R]], owner: object) -> Signature[P, Future[R]]: ...
    @overload
    def __get__(self, task: Task[P, R], owner: object) -> Signature[P, Future[R]]: ...
    def __get__(self, task: Any, owner: object) -> Any:
        """Bind to the task."""
        return self if task is None else task._submit  # noqa: SLF001  # one class in two parts


class Map:
    """Gives a task its `map`; what an ``async def`` returns is seen through."""

    @overload
    def __get__(self, task: Task[P, Coroutine[Any, Any, R]], owner: object) -> Mapped[P, R]: ...
    @overload
    def __get__(self, task: Task[P, R], owner: object) -> Mapped[P, R]: ...
    def __get__(self, task: Any, owner: object) -> Any:
        """Bind to the task."""
        return self if task is None else task._map  # noqa: SLF001  # one class in two parts


class Task(Signature[P, T_co]):
    """A function that flows run as task runs.

    Call it to run it and have its value. ``submit(...)`` begins it and returns a `Future`; ``map(...)`` begins one
    task run per item of the iterables it is given, lazily, and returns `Results`. Futures may be passed wherever
    values may, also inside lists, tuples and dicts.
    """

    __slots__ = ("__dict__", "__weakref__", "_fn", "options", "spec")

    submit = Submit()
    map = Map()

    def __init__(self, fn: Callable[P, T_co], options: TaskOptions, spec: Spec | None = None) -> None:
        self._fn = fn
        self.options = options
        self.spec = spec or spec_of(fn)
        functools.update_wrapper(self, fn)
        for limit in options.limits:
            limit.check(self.spec.names)
        if options.cache is not None:
            options.cache.check(self.spec.names)

    @property
    def fn(self) -> Callable[P, T_co]:
        """The user's function."""
        return self._fn

    @property
    def key(self) -> str:
        """What identities are derived from: the given name, or ``file.function``."""
        return self.options.name or self.spec.key

    if not TYPE_CHECKING:  # its type is that of `Signature`

        def __call__(self, /, *args, **kwargs):  # noqa: ANN002, ANN003, ANN204  # its type is that of `Signature`
            """Run it and return its value; outside a run, call the function."""
            frame = find_frame()
            if frame is None or frame.runtime is None:
                return self._fn(*args, **kwargs)
            return frame.runtime.call(self, args, kwargs)

    def _submit(self, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._runtime("submit").submit(self, args, kwargs)

    def _map(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._runtime("map").map(self, args, kwargs)

    def _runtime(self, verb: str) -> Runtime:
        frame = find_frame()
        if frame is None or frame.runtime is None:
            where = "outside a flow" if frame is None else "inside a task that runs in another process"
            message = (
                f"{self.key}.{verb}(...) was called {where}, where nothing can run it; call {self.key}(...) instead."
            )
            raise UsageError(message)
        return frame.runtime

    def with_options(
        self,
        *,
        name: str | Keep = KEEP,
        retry: Retry | int | Keep | None = KEEP,
        timeout: float | timedelta | Keep | None = KEEP,
        cache: Cache | Keep | None = KEEP,
        limits: Limit | list[Limit] | Keep | None = KEEP,
        resources: Resources | Keep | None = KEEP,
        executor: str | Executor | Keep | None = KEEP,
        pool: str | Keep | None = KEEP,
        when: str | Keep = KEEP,
        critical: bool | Keep = KEEP,
        persist: bool | Keep = KEEP,
        hooks: Hooks | Keep = KEEP,
        tags: Iterable[str] | Keep = KEEP,
        key: str | Keep | None = KEEP,
        wait_for: Iterable[Future[Any]] | Future[Any] | Keep = KEEP,
    ) -> Self:
        """Make a task with other options.

        Args:
            name: Its key, instead of ``file.function``; keep it when you rename or move the function.
            retry: When to try again; a number is short for ``Retry(number)``.
            timeout: Seconds after which an attempt is stopped and has failed.
            cache: Take the result of an earlier run where the key is the same.
            limits: Concurrency limits that its runs pass, over all processes.
            resources: What a run of it takes: workers pack by it.
            executor: Where it executes: ``threads``, ``processes``, ``inline`` or an `Executor`.
            pool: The work pool whose workers run it, as a run of its own; None where the flow itself runs.
            when: The trigger rule: which ends of what it depends on let it run.
            critical: Whether its failure fails the run.
            persist: Whether its result is stored; if not, a resume runs it again.
            hooks: What to call when its runs change state.
            tags: Labels to find it by.
            key: Identifies the call instead of its inputs.
            wait_for: Futures that must end first, without their data being taken.

        Raises:
            DefinitionError: If a value makes no sense.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value is not KEEP}
        return type(self)(self._fn, _checked(self.options, given), self.spec)

    def __ostinato_fingerprint__(self) -> tuple[str, str]:
        """Count, as an argument, as what it does."""
        return self.key, self.spec.code

    def __repr__(self) -> str:
        """Show the key."""
        return f"<Task {self.key}>"

    def __reduce__(self) -> Any:
        """Pickle as function and options, so that it can be sent to other processes."""
        return _rebuild, (self._fn, self.options)


def _rebuild(fn: Any, options: TaskOptions) -> Task[Any, Any]:
    return Task(fn, options)


def seconds_of(timeout: Any) -> float | None:
    """Read a `timeout` option.

    Raises:
        DefinitionError: If it is not a positive number of seconds.
    """
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
        message = f"timeout must be seconds (a positive number) or a timedelta, got {timeout!r}."
        raise DefinitionError(message)
    return float(seconds)


def tags_of(tags: Any) -> tuple[str, ...]:
    """Read a `tags` option.

    Raises:
        DefinitionError: If it is not a list of strings.
    """
    found = () if tags is None else tuple(tags) if not isinstance(tags, str) else (tags,)
    if not all(isinstance(tag, str) and tag for tag in found):
        message = f"tags must be non-empty strings, got {tags!r}."
        raise DefinitionError(message)
    return found


def cache_of(cache: Any) -> Cache | None:
    """Read a `cache` option.

    Raises:
        DefinitionError: If it is no `Cache`.
    """
    if cache is None or isinstance(cache, Cache):
        return cache
    message = f"cache must be Cache(...), got {cache!r}. For example cache=Cache(expires=timedelta(hours=1))."
    raise DefinitionError(message)


def _several(futures: Any) -> tuple[Any, ...]:
    return tuple(futures) if isinstance(futures, (list, tuple, set)) else (futures,)


_READERS: dict[str, Any] = {
    "retry": to_retry,
    "timeout": seconds_of,
    "cache": cache_of,
    "limits": to_limits,
    "resources": resources_of,
    "pool": pool_of,
    "when": check_when,
    "tags": tags_of,
    "wait_for": _several,
}


def _checked(options: TaskOptions, given: dict[str, Any]) -> TaskOptions:
    return replace(options, **{name: _READERS.get(name, lambda v: v)(value) for name, value in given.items()})


class TaskDecorator(Protocol):
    """What ``task(...)`` returns."""

    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]:
        """Make a task of a function."""
        ...


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    retry: Retry | int | None = None,
    timeout: float | timedelta | None = None,
    cache: Cache | None = None,
    limits: Limit | list[Limit] | None = None,
    resources: Resources | None = None,
    executor: str | Executor | None = None,
    pool: str | None = None,
    when: str = "all_succeeded",
    critical: bool = True,
    persist: bool = True,
    hooks: Hooks | None = None,
    tags: Iterable[str] = (),
) -> TaskDecorator: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a task of a function, bare (``@task``) or with options (``@task(retry=3, timeout=30)``).

    Args:
        fn: The function, sync or async.
        **options: See `Task.with_options`; all but `key` and `wait_for`, which belong to a call.

    Raises:
        DefinitionError: If an option is unknown or its value makes no sense.
    """
    checked = _checked(TaskOptions(), {name: value for name, value in _known(options).items() if value is not None})
    if fn is None:
        return lambda function: Task(_function(function, "task"), checked)
    return Task(_function(fn, "task"), checked)


_NAMES = tuple(name for name in TaskOptions.__dataclass_fields__ if name not in {"key", "wait_for"})


def _known(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in _NAMES:
            message = f"@task has no option {name!r}; it has {', '.join(_NAMES)}.{nearest(name, _NAMES)}"
            raise DefinitionError(message)
    return options


def _function(fn: Any, decorator: str) -> Any:
    if isinstance(fn, Signature):
        message = f"@{decorator} was put on {fn!r}, which is decorated already; keep one of the two."
        raise DefinitionError(message)
    if not callable(fn) or isinstance(fn, type):
        message = (
            f"@{decorator} makes a {decorator} of a function, got {fn!r}. Options go by name: @{decorator}(retry=3)."
        )
        raise DefinitionError(message)
    return fn
