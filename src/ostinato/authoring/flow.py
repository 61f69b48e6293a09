"""`@flow`: a function whose calls are runs.

Called outside a run it runs here and now: durable, logged, resumable. Called inside one it is a child run, inline.
"""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, overload

from ostinato.authoring.placing import pool_of, queue_of, resources_of
from ostinato.authoring.signature import P, R, Signature, T_co
from ostinato.authoring.spec import Spec, spec_of
from ostinato.authoring.task import KEEP, Keep, _function, seconds_of, tags_of
from ostinato.context import Executor, find_frame
from ostinato.deadlines import Due, to_due
from ostinato.errors import DefinitionError, ParameterError, UsageError, nearest
from ostinato.hooks import Hooks
from ostinato.limits import Limit, Overlap, to_limits, to_overlap
from ostinato.retry import Retry, to_retry
from ostinato.schedules import When, check_parameters, schedules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ostinato.handle import RunHandle
    from ostinato.resources import Resources


LOADING: Final[ContextVar[bool]] = ContextVar("ostinato_loading", default=False)
"""Set while a file is loaded to see what it defines (`ostinato.authoring.load`): that runs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOptions:
    """The options of a flow, checked."""

    name: str | None = None
    retry: Retry | None = None
    timeout: float | None = None
    executor: str | Executor | None = None
    limits: tuple[Limit, ...] = ()
    overlap: Overlap | None = None
    resources: Resources | None = None
    pool: str | None = None
    queue: str | None = None
    code: Literal["latest", "pinned"] = "latest"
    cold: bool = False
    strict: bool = False
    types: Literal["on", "off"] = "on"
    hooks: Hooks = Hooks()  # noqa: RUF009  # it is frozen
    tags: tuple[str, ...] = ()
    schedule: tuple[When, ...] = ()
    owners: tuple[str, ...] = ()
    deadline: Due | None = None
    resume: bool = False
    key: str | None = None
    deployment: str | None = None
    priority: int | None = None
    start_at: datetime | timedelta | None = None


class Start:
    """Gives a flow its `start`; what an ``async def`` returns is seen through."""

    @overload
    def __get__(self, flow: Flow[P, Coroutine[Any, Any, R]], owner: object) -> Signature[P, RunHandle[R]]: ...
    @overload
    def __get__(self, flow: Flow[P, R], owner: object) -> Signature[P, RunHandle[R]]: ...
    def __get__(self, flow: Any, owner: object) -> Any:
        """Bind to the flow."""
        return self if flow is None else flow._start  # noqa: SLF001  # one class in two parts


class Flow(Signature[P, T_co]):
    """A function whose calls are runs.

    Call it to run it here, in a run as a child run of that. ``start(...)`` asks for a run that a worker carries out,
    and returns a `RunHandle`; what that run is to have besides its parameters is said by `with_options`. In a flow's
    body the run that is started is a child run: the same one whenever the body is run again, and cancelled with it.
    """

    __slots__ = ("__dict__", "__weakref__", "_fn", "options", "spec")

    start = Start()

    def __init__(self, fn: Callable[P, T_co], options: FlowOptions, spec: Spec | None = None) -> None:
        self._fn = fn
        self.options = options
        self.spec = spec or spec_of(fn)
        functools.update_wrapper(self, fn)
        for limit in options.limits:
            limit.check(self.spec.names)
        if options.overlap is not None:
            options.overlap.check(self.spec.names)
        check_parameters(options.schedule, self.spec.names, self.name)

    @property
    def fn(self) -> Callable[P, T_co]:
        """The user's function."""
        return self._fn

    @property
    def name(self) -> str:
        """The given name, or the function's."""
        return self.options.name or self._fn.__name__

    @property
    def target(self) -> str | None:
        """Where it is defined, to find it again: ``/path/file.py:function``; None in a notebook or a prompt."""
        function = inspect.unwrap(self._fn)
        file = function.__code__.co_filename if hasattr(function, "__code__") else "<unknown>"
        if file.startswith("<") or "<locals>" in self._fn.__qualname__:
            return None
        return f"{Path(file).absolute()}:{self._fn.__qualname__}"

    if not TYPE_CHECKING:  # its type is that of `Signature`

        def __call__(self, /, *args, **kwargs):  # noqa: ANN002, ANN003, ANN204  # its type is that of `Signature`
            """Run it: as a child run inside a run, else here and now."""
            frame = find_frame()
            if frame is None:
                if LOADING.get():
                    raise UsageError(_called_on_import(self))
                from ostinato.runtime.start import run_here  # the one lazy door

                return run_here(self, args, kwargs)
            if frame.runtime is None:
                return self._fn(*args, **kwargs)
            return frame.runtime.call_flow(self, args, kwargs)

    def _start(self, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
        frame = find_frame()
        if frame is None:
            from ostinato.runtime.start import start_elsewhere  # the one lazy door

            return start_elsewhere(self, args, kwargs)
        if frame.runtime is None:
            message = f"{self.name}.start(...) was called in a task that runs in another process: nothing starts there."
            raise UsageError(message)
        return frame.runtime.start_run(self, args, kwargs)

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Check and convert parameters by their annotations, with pydantic.

        Returns:
            One value per parameter, by name, defaults filled in.

        Raises:
            ParameterError: With a message per field.
        """
        try:
            bound = self.spec.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._refused(str(error), args, kwargs) from None
        bound.apply_defaults()
        if not bound.arguments:
            return {}
        from ostinato.authoring.parameters import validate  # brings pydantic: only for flows that take something

        return validate(self.name, self.spec, dict(bound.arguments))

    def validate_given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Check and convert those parameters that are given, and no other: a deployment may have the rest.

        Raises:
            ParameterError: With a message per field.
        """
        try:
            given = dict(self.spec.signature.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise self._refused(str(error), args, kwargs) from None
        if not given:
            return {}
        from ostinato.authoring.parameters import validate  # brings pydantic: only for flows that take something

        return validate(self.name, self.spec, given)

    def _refused(self, reason: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ParameterError:
        parameters = self.spec.signature.parameters
        fields = {
            name: f"is no parameter; {self.name} takes {', '.join(parameters) or 'none'}.{nearest(name, parameters)}"
            for name in kwargs
            if name not in parameters
        }
        given = {*kwargs, *list(parameters)[: len(args)]}
        fields |= {
            name: "is missing"
            for name, p in parameters.items()
            if p.default is p.empty and name not in given and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        }
        lines = "".join(f"\n  {name}: {text}" for name, text in fields.items()) or f"\n  {reason}"
        return ParameterError(f"The parameters of {self.name} are refused; no run was made:{lines}", fields)

    def with_options(
        self,
        *,
        name: str | Keep = KEEP,
        retry: Retry | int | Keep | None = KEEP,
        timeout: float | timedelta | Keep | None = KEEP,
        executor: str | Executor | Keep | None = KEEP,
        limits: Limit | list[Limit] | Keep | None = KEEP,
        overlap: Overlap | str | Keep | None = KEEP,
        resources: Resources | Keep | None = KEEP,
        pool: str | Keep | None = KEEP,
        queue: str | Keep | None = KEEP,
        code: Literal["latest", "pinned"] | Keep = KEEP,
        cold: bool | Keep = KEEP,
        strict: bool | Keep = KEEP,
        types: Literal["on", "off"] | Keep = KEEP,
        hooks: Hooks | Keep = KEEP,
        tags: Iterable[str] | Keep = KEEP,
        schedule: When | Sequence[When] | Keep | None = KEEP,
        owners: Iterable[str] | Keep = KEEP,
        deadline: Due | timedelta | Keep | None = KEEP,
        resume: bool | Keep = KEEP,
        key: str | Keep | None = KEEP,
        deployment: str | Keep | None = KEEP,
        priority: int | Keep | None = KEEP,
        start_at: datetime | timedelta | Keep | None = KEEP,
    ) -> Self:
        """Make a flow with other options.

        Args:
            name: What it is called, instead of the function's name.
            retry: When a run that failed is tried again: finished task runs stay.
            timeout: Seconds after which a run is stopped and has failed.
            executor: Where its task runs execute: ``threads``, ``processes``, ``inline`` or an `Executor`.
            limits: Concurrency limits that its runs pass, over all processes.
            overlap: What happens when a run is started while another is under way: ``allow``, ``queue``, ``skip``,
                ``cancel_new``, ``cancel_running``, or `ostinato.limits.Overlap` with a key. Not for calls in a body.
            resources: What a run of it takes of the machine: workers pack by it.
            pool: The work pool whose workers run it once it is deployed.
            queue: The queue in that pool.
            code: ``pinned`` lets a run go on with the source that it began with, ``latest`` with the newest.
            cold: Whether each run gets a fresh process instead of a warm one that has imported the project.
            strict: Whether reaching other calls with unchanged code, when run again, is an error.
            types: ``off`` to leave arguments and results unchecked.
            hooks: What to call when its runs change state.
            tags: Labels to find its runs by.
            schedule: When it runs once it is deployed, one or several: see `ostinato.schedules`.
            owners: Who cares for it: automations find it by that.
            deadline: By when a run must have begun and ended once it is deployed: see `ostinato.deadlines.Due`.
            resume: Go on with an interrupted run of the same parameters, if there is one.
            key: An idempotency key: a run of this flow that has it already is returned, not made again.
            deployment: Which deployment `start` starts, ``flow/variant``; by default the one named like the flow.
            priority: Of a run that is started, among those of its queue: -499 to 499, the higher the sooner.
            start_at: When a run that is started begins: an aware instant, or a time from now.

        Raises:
            DefinitionError: If a value makes no sense.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value is not KEEP}
        return type(self)(self._fn, _checked(self.options, given), self.spec)

    def __ostinato_fingerprint__(self) -> tuple[str, str]:
        """Count, as an argument, as what it does."""
        return self.name, self.spec.code

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Flow {self.name}>"

    def __reduce__(self) -> Any:
        """Pickle as function and options."""
        return _rebuild, (self._fn, self.options)


def _called_on_import(flow: Flow[Any, Any]) -> str:
    return (
        f"The flow {flow.name} is called while its file is imported, which would run it each time anybody looks at "
        'the file. Put the call under if __name__ == "__main__":.'
    )


def _rebuild(fn: Any, options: FlowOptions) -> Flow[Any, Any]:
    return Flow(fn, options)


def _one_of(option: str, *choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            expected = " or ".join(f'"{choice}"' for choice in choices)
            message = f"{option} must be {expected}, got {value!r}."
            raise DefinitionError(message)
        return str(value)

    return read


_MOST_PRIORITY = 499


def _priority(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST_PRIORITY):
        return value
    message = f"priority must be a whole number, -{_MOST_PRIORITY} to {_MOST_PRIORITY}, got {value!r}."
    raise DefinitionError(message)


def _start_at(value: Any) -> datetime | timedelta | None:
    if value is None or isinstance(value, timedelta) or (isinstance(value, datetime) and value.tzinfo is not None):
        return value
    message = f"start_at must be a datetime with a time zone, or a timedelta from now, got {value!r}."
    raise DefinitionError(message)


def _owners(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(owner, str) and owner for owner in found):
        raise DefinitionError(f"owners must be names of people or teams, got {value!r}.")
    return found


_READERS: dict[str, Any] = {
    "retry": to_retry,
    "timeout": seconds_of,
    "limits": to_limits,
    "overlap": to_overlap,
    "tags": tags_of,
    "schedule": schedules_of,
    "owners": _owners,
    "deadline": to_due,
    "types": _one_of("types", "on", "off"),
    "resources": resources_of,
    "pool": pool_of,
    "queue": queue_of,
    "code": _one_of("code", "latest", "pinned"),
    "priority": _priority,
    "start_at": _start_at,
}


def _checked(options: FlowOptions, given: dict[str, Any]) -> FlowOptions:
    return replace(options, **{name: _READERS.get(name, lambda v: v)(value) for name, value in given.items()})


class FlowDecorator(Protocol):
    """What ``flow(...)`` returns."""

    def __call__(self, fn: Callable[P, R], /) -> Flow[P, R]:
        """Make a flow of a function."""
        ...


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    retry: Retry | int | None = None,
    timeout: float | timedelta | None = None,
    executor: str | Executor | None = None,
    limits: Limit | list[Limit] | None = None,
    overlap: Overlap | str | None = None,
    resources: Resources | None = None,
    pool: str | None = None,
    queue: str | None = None,
    code: Literal["latest", "pinned"] = "latest",
    cold: bool = False,
    strict: bool = False,
    types: Literal["on", "off"] = "on",
    hooks: Hooks | None = None,
    tags: Iterable[str] = (),
    schedule: When | Sequence[When] | None = None,
    owners: Iterable[str] = (),
    deadline: Due | timedelta | None = None,
) -> FlowDecorator: ...
def flow(fn: Any = None, /, **options: Any) -> Any:
    """Make a flow of a function, bare (``@flow``) or with options (``@flow(retry=1, tags=["core"])``).

    Args:
        fn: The function, sync or async.
        **options: See `Flow.with_options`; all but `resume`, `key`, `deployment`, `priority` and `start_at`, which
            belong to a call.

    Raises:
        DefinitionError: If an option is unknown or its value makes no sense.
    """
    checked = _checked(FlowOptions(), {name: value for name, value in _known(options).items() if value is not None})
    if fn is None:
        return lambda function: Flow(_function(function, "flow"), checked)
    return Flow(_function(fn, "flow"), checked)


_OF_A_CALL = frozenset({"resume", "key", "deployment", "priority", "start_at"})
_NAMES = tuple(name for name in FlowOptions.__dataclass_fields__ if name not in _OF_A_CALL)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in _NAMES:
            message = f"@flow has no option {name!r}; it has {', '.join(_NAMES)}.{nearest(name, _NAMES)}"
            raise DefinitionError(message)
    return options
